"""A PC's first parallel port (IEEE 1284 compatibility mode) with a printer that is always ready and prints nothing."""

from typing import Final, Self

from kev.dev.base import PlainDevice
from kev.dev.surroundings import Surroundings
from kev.state import Fields, bits

_DATA: Final = 0x378
_STATUS: Final = 0x379
_CONTROL: Final = 0x37A

_READY: Final = 0xDF
"""Not busy, no acknowledge pulse, paper in, on line, no error; the low bits are not used and read as ones."""
_CONTROL_UNUSED: Final = 0xC0


class ParallelPort(PlainDevice):
    """Kernels that mirror their console to a printer find one here, instead of waiting for it."""

    name: Final = "parallel port"
    ports: Final = (range(_DATA, _CONTROL + 1),)

    FIELDS = Fields({"_data": bits(8), "_control": bits(6)})

    __slots__ = ("_control", "_data")

    def __init__(self) -> None:
        self.reset()

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        return cls()

    def reset(self) -> None:
        self._data = 0
        self._control = 0

    def read_port(self, port: int, size: int) -> int:
        if port == _STATUS:
            return _READY
        return self._data if port == _DATA else self._control | _CONTROL_UNUSED

    def write_port(self, port: int, size: int, value: int) -> None:
        if port == _DATA:
            self._data = value
        elif port == _CONTROL:
            self._control = value & ~_CONTROL_UNUSED
