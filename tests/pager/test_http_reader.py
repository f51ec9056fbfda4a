"""Images behind a web server of our own, which does not always do as it should."""

import io
import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import trio

from kev.addressing import KIB, MIB
from kev.guests.images import open_image_or_url
from kev.pager.fsspec_source import FsspecSource
from kev.pager.http_reader import HttpReader
from kev.pager.retrying_source import RetryingSource
from kev.pager.source import SourceError, read_bytes, read_exactly

DATA = bytes(index * 7 + index // 256 & 0xFF for index in range(1 * MIB + 777))


class Server(ThreadingHTTPServer):
    """Serves DATA in ranges, as the path of each request says."""

    daemon_threads = True
    data = DATA
    asked = 0
    failures = 0
    """So many requests fail from now on."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        mode = self.path.strip("/")
        first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        body = self.server.data[first : last + 1]
        if mode in ("redirected", "in-circles"):
            self._answer(302, b"", Location="/" if mode == "redirected" else self.path)
        elif mode == "to-nowhere":
            self._answer(302, b"", Location="http://[::1")
        elif mode.startswith("size-"):
            size = {"size-of-5000-digits": "9" * 5000, "size-in-no-digits": "\u00b2"}.get(mode, str(1 << 40))
            self._answer(206, body, first=first, total=size)
        elif mode == "missing" or self.server.failures:
            self.server.failures = max(self.server.failures - 1, 0)
            self._answer(404 if mode == "missing" else 503, b"")
        elif mode == "no-ranges":
            self._answer(200, self.server.data)
        elif not first:
            self._answer(206, body, first=first, ETag='"1"')
        elif mode == "other-range":
            self._answer(206, body, first=first + 1, ETag='"1"')
        elif mode == "other-file":
            self._answer(206, body, first=first, ETag='"2"')
        elif mode == "endless":
            self._endless(first, body)
        else:
            self._answer(206, body[:-1] if mode == "short" else body, first=first, ETag='"1"')

    def _endless(self, first: int, body: bytes) -> None:
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{first + len(body) - 1}/{len(self.server.data)}")
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.close_connection = True
        try:
            while True:
                self.wfile.write(bytes(64 * KIB))
        except OSError:
            return

    def _answer(self, status: int, body: bytes, first: int | None = None, total: str | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if first is not None:
            self.send_header("Content-Range", f"bytes {first}-{first + len(body) - 1}/{total or len(self.server.data)}")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Not on the terminal."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield httpd
        httpd.shutdown()
        thread.join()


def url(server: Server, mode: str = "") -> str:
    return f"http://127.0.0.1:{server.server_port}/{mode}"


@pytest.mark.parametrize("mode", ["", "redirected"])
def test_any_range_is_read_as_it_is(server: Server, mode: str) -> None:
    with closing(HttpReader(url(server, mode))) as reader:
        assert (reader.name, reader.size) == (url(server, mode), len(DATA))
        for start, end in ((0, 1), (5, 5), (100, 300 * KIB), (len(DATA) - 3, len(DATA))):
            assert reader.read(start, end) == DATA[start:end]


async def test_pages_come_from_ranges_that_are_kept(server: Server) -> None:
    with closing(FsspecSource.open(url(server))) as source:
        buffer = bytearray(300 * KIB)
        filled = read_exactly(source, 100 * KIB, memoryview(buffer))
        assert not isinstance(filled, bool)
        assert await filled
        assert buffer == DATA[100 * KIB : 400 * KIB]
        asked = server.asked
        assert source.read_into(100 * KIB, memoryview(buffer)) == len(buffer)
        assert server.asked == asked


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("missing", "asked for the first byte, the server answers 404 Not Found"),
        ("no-ranges", "asked for the first byte, the server answers 200 OK"),
        ("in-circles", "is redirected more than 5 times"),
    ],
)
def test_a_server_that_cannot_serve_ranges_is_refused_with_its_status(server: Server, mode: str, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        HttpReader(url(server, mode))
    assert str(caught.value).startswith(url(server, mode))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("other-range", "the answer is for 'bytes 65537-131072/1049353', not for 'bytes 65536-131071/1049353'"),
        ("other-file", "the file was changed while it was in use"),
        ("short", "cannot be read: the answer says that it has 65535 bytes"),
        ("endless", "the answer has more"),
    ],
)
def test_wrong_bytes_are_not_taken_for_right_ones(server: Server, mode: str, message: str) -> None:
    with closing(HttpReader(url(server, mode))) as reader, pytest.raises(SourceError) as caught:
        reader.read(64 * KIB, 128 * KIB)
    assert str(caught.value).startswith(f"{url(server, mode)}: 65536 bytes at offset 0x10000: ")
    assert message in str(caught.value)


def test_a_failed_request_says_the_status(server: Server) -> None:
    with closing(HttpReader(url(server))) as reader:
        server.failures = 1
        with pytest.raises(SourceError, match=r": 100 bytes at offset 0x0: HTTP status 503 Service Unavailable$"):
            reader.read(0, 100)
        assert reader.read(0, 100) == DATA[:100]


@pytest.mark.parametrize(
    "address", ["http://", "http://host:0/", "http://host:x/", "http://127.0.0.1:1/", "http://[::1", "http://[0m/"]
)
def test_an_address_that_leads_nowhere_is_refused(address: str) -> None:
    with pytest.raises(SourceError, match=f"^{re.escape(address)}: cannot be read: "):
        HttpReader(address)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("to-nowhere", r"^http://\[::1: cannot be read: is no address of a web server$"),
        ("size-of-5000-digits", "cannot be read in ranges"),
        ("size-in-no-digits", "cannot be read in ranges"),
    ],
)
def test_headers_of_a_server_are_not_taken_at_their_word(server: Server, mode: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        HttpReader(url(server, mode))


def test_a_manifest_that_is_too_large_is_not_read(server: Server) -> None:
    with pytest.raises(SourceError, match=r"size-of-a-tebibyte.*: has 1,099,511,627,776 bytes: a manifest may have 67,108,864$"):
        FsspecSource.open(f"{url(server, 'size-of-a-tebibyte')}#blocks={'0' * 64}")
    assert server.asked == 1


def test_a_source_is_asked_again_if_it_cannot_be_opened(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    server.failures = 2
    with open_image_or_url(url(server), retry=2) as (source, _):
        assert source.size == len(DATA)
    server.failures = 9
    with (
        pytest.raises(SourceError, match=r"answers 503 Service Unavailable, .*; it was asked 3 times$"),
        open_image_or_url(url(server), retry=2),
    ):
        pass


async def test_a_source_that_comes_back_is_asked_again(server: Server, autojump_clock: trio.testing.MockClock) -> None:
    with closing(HttpReader(url(server))) as reader:
        source = RetryingSource(FsspecSource(reader), 2)
        buffer = bytearray(4096)
        server.failures = 2
        pending = read_exactly(source, 0, memoryview(buffer))
        assert not isinstance(pending, bool)
        assert await pending
        assert buffer == DATA[:4096]
        server.failures = 9
        with pytest.raises(SourceError, match=r"HTTP status 503 Service Unavailable; it was asked 3 times$"):
            await source.read_into(512 * KIB, memoryview(buffer))


def test_an_archive_behind_a_server_is_read_in_ranges_that_are_checked(server: Server) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("kernel", DATA)
        file.comment = b"a comment that comes last"
    server.data = archive.getvalue()
    with closing(FsspecSource.open(f"zip://kernel::{url(server)}")) as source:
        assert source.size == len(DATA)
        assert read_bytes(source.blocking, 1000, 3000) == DATA[1000:4000]


def test_a_server_of_an_archive_that_answers_without_end_is_refused(server: Server) -> None:
    with pytest.raises(SourceError, match=r"cannot be read: .*the answer has more"):
        FsspecSource.open(f"zip://kernel::{url(server, 'endless')}")
