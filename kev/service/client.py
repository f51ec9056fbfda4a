"""A client of the service's API, for programs that wait: the command line's."""

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, Self
from urllib.parse import quote, urlencode, urlsplit

from kev.errors import KevError
from kev.service.address import UNIX, default_socket
from kev.user_files import read_user_file

_PATIENCE: Final = 60.0
"""Seconds; the service answers within 30, whatever it waits for."""
_LARGEST_TOKEN_FILE: Final = 4096
_LISTED: Final = 1000
"""Machines that one request lists."""


class NoService(KevError):
    """Nobody answers where the service should be. Says where that was, and how to start one."""


class Refused(KevError):
    """The service has refused a request; its words."""

    def __init__(self, detail: str, status: int) -> None:
        super().__init__(detail)
        self.status: Final = status


class UnclearName(KevError):
    """No machine is called so, or several begin like that."""


class Address(NamedTuple):
    """Where a service is."""

    shown: str
    socket: str | None = None
    """The path of its unix socket; None if it is reached over TCP."""
    host: str = "localhost"
    port: int = 0
    is_secure: bool = False

    @classmethod
    def of(cls, text: str | None, said_by: str = "--service") -> "Address":
        """`unix:PATH` or `http://HOST:PORT` (or https); None is the socket in the user's runtime directory. NoService."""
        if text is None:
            path = default_socket()
            if path is None:
                raise NoService("XDG_RUNTIME_DIR names no folder for the service's socket: say where it is: --service unix:PATH")
            return cls(f"{UNIX}{path}", path)
        if text.startswith(UNIX) and text != UNIX:
            return cls(text, text.removeprefix(UNIX))
        try:
            url = urlsplit(text)
            host, port = url.hostname, url.port
        except ValueError:
            host = port = None
        if host is None or url.scheme not in ("http", "https") or url.path not in ("", "/"):
            raise NoService(f"{said_by}: {text!r}: it must be unix:PATH, http://HOST:PORT or https://HOST:PORT")
        is_secure = url.scheme == "https"
        return cls(text, None, host, port or (443 if is_secure else 80), is_secure)


class Console(NamedTuple):
    """A piece of what a guest has printed."""

    data: bytes
    offset: int
    """Of the first byte; greater than what was asked for if bytes are not kept any more."""
    next: int
    """Behind the last byte."""
    is_last: bool
    """The run has ended, and nothing comes behind it."""


class Client:
    """Asks one service, request by request, over one connection, which is closed at the end of a `with` block. For one thread."""

    def __init__(self, address: Address, token: str | None = None, patience: float = _PATIENCE) -> None:
        """Connects when it has to. `token`: what the service wants to hear over TCP. `patience` in seconds."""
        self.address: Final = address
        self._headers: Final = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._token: Final = token
        self._patience: Final = patience
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def another(self) -> "Client":
        """One for another thread."""
        return Client(self.address, self._token, self._patience)

    # Machines.

    def machines(self, **query: str) -> Iterator[dict[str, Any]]:
        """All of them, in the order in which they were made."""
        while True:
            page: list[dict[str, Any]] = self._json("GET", "/v1/machines", {**query, "limit": str(_LISTED)})["machines"]
            yield from page
            if len(page) < _LISTED:
                return
            query["after"] = page[-1]["id"]

    def machine(self, name: str) -> dict[str, Any]:
        """The one of this id or name, or the only one whose id begins so. UnclearName."""
        if not name:
            raise UnclearName("'': no machine has no name")
        try:
            return self._about(self._json("GET", f"/v1/machines/{quote(name, safe='')}"))
        except Refused as refused:
            if refused.status != http.client.NOT_FOUND:
                raise
        found = [machine for machine in self.machines() if machine["id"].startswith(name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UnclearName(f"{name!r} is the beginning of {len(found)} ids: {', '.join(machine['id'] for machine in found[:5])}")
        raise UnclearName(f"{name!r}: there is no machine of this name or id")

    def create(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        """Makes a machine: see `POST /v1/machines`."""
        return self._about(self._json("POST", "/v1/machines", body=wish))

    def act(self, machine: str, action: str) -> dict[str, Any]:
        """`start`, `pause`, `resume` or `stop`; the machine afterwards. `machine` is an id."""
        return self._about(self._json("POST", f"/v1/machines/{machine}/{action}"))

    def remove(self, machine: str) -> None:
        """Stops it, if it has not ended, and forgets it. Nothing happens if somebody else has done so meanwhile."""
        try:
            self._ask("DELETE", f"/v1/machines/{machine}")
        except Refused as refused:
            if refused.status != http.client.NOT_FOUND:
                raise

    def console(self, machine: str, offset: int = 0, *, follow: bool = False) -> Console:
        """What its guest has printed from `offset` on. `follow`: waits for a while until there is something."""
        query = {"offset": str(offset), "follow": "1" if follow else "0"}
        response, data = self._ask("GET", f"/v1/machines/{machine}/console", query)
        found = [response.getheader(name, "0") for name in ("Kev-Offset", "Kev-Next")]
        return Console(data, int(found[0]), int(found[1]), response.getheader("Kev-End") == "true")

    def type(self, machine: str, data: bytes) -> None:
        self._ask("POST", f"/v1/machines/{machine}/input", body=data)

    # Snapshots.

    def save(self, machine: str, name: str, *, compress: bool = False) -> dict[str, Any]:
        """Saves a machine as the snapshot called `name`."""
        body = {"name": name, "compress": compress}
        return self._about(self._json("POST", f"/v1/machines/{machine}/snapshots", body=body))

    def snapshots(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._json("GET", "/v1/snapshots")["snapshots"]
        return found

    # Requests.

    def _json(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None) -> Any:
        _, data = self._ask(method, path, query, None if body is None else json.dumps(body).encode())
        try:
            return json.loads(data)
        except ValueError as error:
            raise self._no_service("what answers is no service of kev") from error

    def _ask(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """NoService, Refused."""
        target = f"{path}?{urlencode(query)}" if query else path
        headers = {**self._headers, "Content-Type": _content_type(path)} if body is not None else self._headers
        try:
            response, data = self._exchange(method, target, body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._no_service(_reason(error)) from error
        if response.status >= http.client.BAD_REQUEST:
            hint = "; --token-file or KEV_TOKEN says the token" if response.status == http.client.UNAUTHORIZED else ""
            raise Refused(_detail(response, data) + hint, response.status)
        return response, data

    def _exchange(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        if self._connection is not None:
            try:
                return self._once(self._connection, method, target, body, headers)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                """The service has closed it meanwhile: it has not seen the request."""
        self.close()
        self._connection = _connection(self.address, self._patience)
        return self._once(self._connection, method, target, body, headers)

    def _once(
        self, connection: http.client.HTTPConnection, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection.request(method, target, body, dict(headers))
        response = connection.getresponse()
        return response, response.read()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _about(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._no_service("what answers is no service of kev")
        return value

    def _no_service(self, reason: str) -> NoService:
        where = "`kev serve` starts one; --service or KEV_SERVICE says where it is"
        return NoService(f"{self.address.shown}: no service answers: {reason}; {where}")


class _UnixConnection(http.client.HTTPConnection):
    """Over a unix socket."""

    def __init__(self, path: str, patience: float) -> None:
        super().__init__("localhost", timeout=patience)
        self._path: Final = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def client_of(service: str | None, token_file: str | None, patience: float = _PATIENCE) -> Client:
    """The client of what a command line says, or else of KEV_SERVICE and KEV_TOKEN. NoService; KevError about the file."""
    said_by = "--service"
    if service is None:
        service, said_by = os.environ.get("KEV_SERVICE") or None, "KEV_SERVICE"
    token = os.environ.get("KEV_TOKEN") or None
    if token_file is not None:
        token = read_user_file(token_file, _LARGEST_TOKEN_FILE, NoService).decode(errors="replace").strip()
    if token is not None and not (token.isascii() and token.isprintable()):
        raise NoService(f"{token_file or 'KEV_TOKEN'}: is no token: it must be printable ASCII")
    return Client(Address.of(service, said_by), token, patience)


def _connection(address: Address, patience: float) -> http.client.HTTPConnection:
    if address.socket is not None:
        return _UnixConnection(address.socket, patience)
    kind = http.client.HTTPSConnection if address.is_secure else http.client.HTTPConnection
    return kind(address.host, address.port, timeout=patience)


def _content_type(path: str) -> str:
    return "application/octet-stream" if path.endswith("/input") else "application/json"


def _detail(response: http.client.HTTPResponse, data: bytes) -> str:
    """What a problem says (RFC 9457, section 3.1), or else the status."""
    try:
        return str(json.loads(data)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the service answers {response.status} {response.reason}"


def _reason(error: OSError | http.client.HTTPException) -> str:
    if isinstance(error, TimeoutError):
        return "it takes too long"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
