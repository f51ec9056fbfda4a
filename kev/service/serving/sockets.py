"""The sockets that a service listens at."""

import errno
import os
import re
import socket
import stat
from collections.abc import Sequence
from typing import Final

import attrs

from kev.service.address import UNIX as _UNIX
from kev.service.address import default_socket
from kev.service.errors import ServiceError

_BACKLOG: Final = 256
_ADDRESS: Final = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^:\[\]]*)):([0-9]{1,5})")
_FIRST_PASSED: Final = 3
"""The first descriptor that systemd passes (sd_listen_fds(3))."""


class ListenError(ServiceError):
    """An address cannot be listened at. Names it, and why."""


@attrs.frozen
class Listener:
    """A socket that listens."""

    socket: socket.socket
    address: str
    """As a client is told it: `unix:PATH` or `HOST:PORT`."""

    @property
    def is_local(self) -> bool:
        """It is a unix socket: the file system says who may connect."""
        return self.socket.family == socket.AF_UNIX

    def close(self) -> None:
        """Nobody finds it any more."""
        name = self.socket.getsockname() if self.is_local else ""
        self.socket.close()
        if name and not isinstance(name, bytes):
            try:
                os.unlink(name)
            except OSError:
                """Another service has taken its place, or the folder is gone."""


def default_address() -> str:
    """The socket in the user's runtime directory. ListenError if there is none."""
    path = default_socket()
    if path is None:
        raise ListenError("--listen: XDG_RUNTIME_DIR names no folder for the socket: say where, as unix:PATH")
    return f"{_UNIX}{path}"


def listen(addresses: Sequence[str]) -> list[Listener]:
    """ListenError if one of them cannot be listened at; none is then."""
    listeners: list[Listener] = []
    try:
        for address in addresses:
            listeners.append(_listen(address))
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def passed_by_systemd() -> list[Listener]:
    """The sockets that this process was started with (sd_listen_fds(3)); the variables that say so are taken away."""
    count, process = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if not count.isdigit() or process != str(os.getpid()):
        return []
    listeners: list[Listener] = []
    for descriptor in range(_FIRST_PASSED, _FIRST_PASSED + int(count)):
        os.set_inheritable(descriptor, False)
        found = socket.socket(fileno=descriptor)
        if found.type != socket.SOCK_STREAM or not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ListenError(f"LISTEN_FDS: descriptor {descriptor} is no stream socket that listens")
        listeners.append(_PassedListener(found, _address_of(found)))
    return listeners


class _PassedListener(Listener):
    """systemd keeps the socket for the next service."""

    def close(self) -> None:
        self.socket.close()


def _listen(address: str) -> Listener:
    if address.startswith(_UNIX):
        return _listen_at_path(address, address.removeprefix(_UNIX))
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match[3]) > 0xFFFF:
        raise ListenError(f"--listen: {address!r}: it must be unix:PATH or HOST:PORT, with a port from 0 to 65535")
    host = match[1] or match[2] or "127.0.0.1"
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, int(match[3]), type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _bind(found, place)
    except OSError as error:
        raise ListenError(f"--listen: {address!r}: cannot be listened at: {error.strerror}") from error
    return Listener(found, _address_of(found))


def _listen_at_path(address: str, path: str) -> Listener:
    if not path:
        raise ListenError(f"--listen: {address!r}: a path follows unix:")
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _make_way(address, path)
        mask = os.umask(0o177)
        try:
            _bind(found, path)
        finally:
            os.umask(mask)
    except OSError as error:
        found.close()
        raise ListenError(f"--listen: {address!r}: cannot be listened at: {error.strerror or error}") from error
    except BaseException:
        found.close()
        raise
    return Listener(found, f"{_UNIX}{os.path.abspath(path)}")


def _bind(found: socket.socket, place: object) -> None:
    try:
        found.bind(place)  # type: ignore[arg-type]
        found.listen(_BACKLOG)
    except BaseException:
        found.close()
        raise


def _make_way(address: str, path: str) -> None:
    """Removes the socket that a service has left which is gone. ListenError if one answers there, or if it is no socket."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"--listen: {address!r}: there is a file of that name, which is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except OSError as error:
            if error.errno == errno.ECONNREFUSED:
                os.unlink(path)
                return
            raise
    raise ListenError(f"--listen: {address!r}: another service listens there")


def _address_of(found: socket.socket) -> str:
    name = found.getsockname()
    if found.family == socket.AF_UNIX:
        return f"{_UNIX}{name}"
    return f"[{name[0]}]:{name[1]}" if found.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"
