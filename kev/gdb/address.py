"""Where a debugger is waited for."""

from typing import Final, NamedTuple

from kev.gdb.errors import GdbError

_LOCAL_HOST = "127.0.0.1"
_MOST_DIGITS: Final = 5


class TcpAddress(NamedTuple):
    host: str
    port: int
    """0 for any that is free."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UnixAddress(NamedTuple):
    path: str

    def __str__(self) -> str:
        """As gdb's `target remote` takes it: a name with a slash."""
        return self.path if "/" in self.path else f"./{self.path}"


def parse_address(text: str) -> TcpAddress | UnixAddress:
    """Reads `[HOST:]PORT` or `unix:PATH`; without a host, only this computer can connect. GdbError if it is neither."""
    if text.startswith("unix:") and len(text) > len("unix:"):
        return UnixAddress(text.removeprefix("unix:"))
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and len(port) <= _MOST_DIGITS and int(port) <= 65_535):
        raise GdbError(f"--gdb {text}: give [HOST:]PORT, with a port of at most 65535, or unix:PATH")
    return TcpAddress(host.removeprefix("[").removesuffix("]") or _LOCAL_HOST, int(port))
