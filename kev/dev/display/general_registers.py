"""A VGA's general registers but for input status 1 (IBM VGA technical reference): clocks and the signals of a monitor."""

from typing import Final, Self

from kev.dev.base import PlainDevice
from kev.dev.display.screen import MISCELLANEOUS_OUTPUT
from kev.dev.surroundings import Surroundings
from kev.state import Fields, bits

_FEATURE_CONTROL: Final = 0x3CA
_MISCELLANEOUS_INPUT: Final = 0x3CC
"""Where what was written is read; at the port where it is written, it is input status 0."""
_MODE_3: Final = 0x67
"""The ports are in their colour position, the clock is that of 720 dots."""


class GeneralRegisters(PlainDevice):
    """They read back what was written. Whatever it is, the ports stay in their colour position."""

    name: Final = "VGA general registers"
    ports: Final = tuple(range(port, port + 1) for port in (MISCELLANEOUS_OUTPUT, _FEATURE_CONTROL, _MISCELLANEOUS_INPUT))
    FIELDS = Fields({"_miscellaneous": bits(8)})

    __slots__ = ("_miscellaneous",)

    def __init__(self) -> None:
        self.reset()

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        return cls()

    def reset(self) -> None:
        self._miscellaneous = _MODE_3

    def read_port(self, port: int, size: int) -> int:
        return self._miscellaneous if port == _MISCELLANEOUS_INPUT else 0

    def write_port(self, port: int, size: int, value: int) -> None:
        if port == MISCELLANEOUS_OUTPUT:
            self._miscellaneous = value
