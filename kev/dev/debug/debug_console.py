"""The debug console of Bochs and QEMU ("isa-debugcon"): whatever is written to port 0xe9 is printed."""

from typing import Final

from kev.dev.debug.printing import PrintingDevice

_PORT: Final = 0xE9


class DebugConsole(PrintingDevice):
    """Reads give the port's own number, by which kernels find out that it is there."""

    name: Final = "debug console"
    ports: Final = (range(_PORT, _PORT + 1),)

    __slots__ = ()

    def read_port(self, port: int, size: int) -> int:
        return _PORT

    def write_port(self, port: int, size: int, value: int) -> None:
        self._transmit(value)
