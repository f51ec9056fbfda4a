"""A file behind a web server, read in ranges (RFC 9110, section 14), of which nothing is believed that can be checked."""

import http.client
import threading
import time
from typing import Final, NamedTuple
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from kev.pager.source import SourceError

_PATIENCE: Final = 10.0
"""Seconds that a server may say nothing."""
_LONGEST_ANSWER: Final = 60.0
"""Seconds that an answer may take."""
_MOST_REDIRECTIONS: Final = 5
_REDIRECTIONS: Final = (301, 302, 303, 307, 308)
_PARTIAL_CONTENT: Final = 206
_CHUNK: Final = 1 << 16
_MOST_DIGITS: Final = 18


class _Answer(NamedTuple):
    status: str
    """Its number and name."""
    code: int
    content_range: str
    version: str
    """Whatever says which version of the file it is: its ETag, or when it was modified."""
    location: str
    body: bytes


class HttpReader:
    """Reads ranges of what a URL of the scheme http or https leads to. May be called in any thread; connections are kept."""

    def __init__(self, url: str) -> None:
        """SourceError if nothing is there, or if the server does not read ranges."""
        self.name: Final = url
        self._lock: Final = threading.Lock()
        self._idle: Final[list[http.client.HTTPConnection]] = []
        self._closed = False
        self._url = _split(url)
        answer = self._located()
        first, slash, size = answer.content_range.partition("/")
        if answer.code != _PARTIAL_CONTENT or first != "bytes 0-0" or not slash or not _is_size(size):
            told = f"{answer.status}, Content-Range {answer.content_range or 'missing'!r}"
            raise SourceError(f"{url}: cannot be read in ranges: asked for the first byte, the server answers {told}")
        self.size: Final = int(size)
        self._version: Final = answer.version

    def read_into(self, offset: int, buffer: memoryview, /) -> int:
        data = self.read(offset, min(offset + len(buffer), self.size))
        buffer[: len(data)] = data
        return len(data)

    def read(self, start: int, end: int) -> bytes:
        """The bytes of [start, end). SourceError if they cannot be had, or if the file is another one by now."""
        if start >= end:
            return b""
        what = f"{self.name}: {end - start} bytes at offset {start:#x}"
        answer = self._ask(start, end, what)
        if answer.code != _PARTIAL_CONTENT:
            raise SourceError(f"{what}: HTTP status {answer.status}")
        expected = f"bytes {start}-{end - 1}/{self.size}"
        if answer.content_range != expected:
            raise SourceError(f"{what}: the answer is for {answer.content_range or 'it does not say what'!r}, not for {expected!r}")
        if answer.version != self._version:
            raise SourceError(f"{what}: the file was changed while it was in use, so that old and new bytes would be mixed")
        if len(answer.body) != end - start:
            raise SourceError(f"{what}: the answer has {'more' if len(answer.body) > end - start else f'only {len(answer.body)}'}")
        return answer.body

    def close(self) -> None:
        """Closes the connections that are kept. Those of reads that are under way are closed by them."""
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.pop().close()

    def _located(self) -> _Answer:
        """The answer for the first byte, where redirections lead."""
        for _ in range(_MOST_REDIRECTIONS + 1):
            answer = self._ask(0, 1, self.name)
            if answer.code not in _REDIRECTIONS:
                return answer
            self._url = _redirected(self._url, answer.location)
            self.close()
            self._closed = False
        raise SourceError(f"{self.name}: is redirected more than {_MOST_REDIRECTIONS} times")

    def _ask(self, start: int, end: int, what: str) -> _Answer:
        """One request. A connection that was kept may be gone by now: then with another."""
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        try:
            if kept is not None:
                try:
                    return self._ask_by(kept, start, end)
                except (http.client.BadStatusLine, ConnectionError):
                    pass
            return self._ask_by(_connected(self._url), start, end)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise SourceError(f"{what}: cannot be read: {_reason(error)}") from error

    def _ask_by(self, connection: http.client.HTTPConnection, start: int, end: int) -> _Answer:
        try:
            answer, keep = self._exchange(connection, start, end)
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if keep and not self._closed:
                self._idle.append(connection)
                return answer
        connection.close()
        return answer

    def _exchange(self, connection: http.client.HTTPConnection, start: int, end: int) -> tuple[_Answer, bool]:
        """The answer, and whether the connection can be used again."""
        limit = time.monotonic() + _LONGEST_ANSWER
        headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity", **_authorization(self._url)}
        connection.request("GET", _target(self._url), headers=headers)
        response = connection.getresponse()
        body = bytearray()
        if response.status == _PARTIAL_CONTENT and response.length not in (None, end - start):
            raise ValueError(f"the answer says that it has {response.length} bytes")
        if response.status == _PARTIAL_CONTENT:
            # One byte more than there may be says that there are more.
            while len(body) <= end - start and (more := response.read1(min(_CHUNK, end - start + 1 - len(body)))):
                body += more
                if time.monotonic() > limit:
                    raise TimeoutError
        answer = _Answer(
            f"{response.status} {response.reason}",
            response.status,
            response.getheader("Content-Range", ""),
            response.getheader("ETag") or response.getheader("Last-Modified") or "",
            response.getheader("Location", ""),
            bytes(body),
        )
        return answer, response.isclosed() and not response.will_close


def _is_size(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS


def _redirected(url: SplitResult, location: str) -> SplitResult:
    try:
        target = urljoin(url.geturl(), location)
    except ValueError:
        target = location
    return _split(target)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = None
    if not usable:
        raise SourceError(f"{url}: cannot be read: is no address of a web server")
    return parts


def _connected(url: SplitResult) -> http.client.HTTPConnection:
    """A new connection to the server, or to the proxy that the environment names for it."""
    from urllib.request import getproxies, proxy_bypass

    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    assert url.hostname is not None
    proxy = getproxies().get(url.scheme)
    if not proxy or proxy_bypass(url.hostname):
        return kind(url.hostname, url.port, timeout=_PATIENCE)
    through = urlsplit(proxy)
    connection = kind(through.hostname or "", through.port, timeout=_PATIENCE)
    connection.set_tunnel(url.hostname, url.port)
    return connection


def _target(url: SplitResult) -> str:
    path = quote(url.path or "/", safe="/%:@!$&'()*+,;=~-._")
    return f"{path}?{url.query}" if url.query else path


def _authorization(url: SplitResult) -> dict[str, str]:
    if url.username is None:
        return {}
    from base64 import b64encode

    pair = f"{unquote(url.username)}:{unquote(url.password or '')}"
    return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {_PATIENCE:g} s, or not all of it within {_LONGEST_ANSWER:g} s"
    if isinstance(error, ValueError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
