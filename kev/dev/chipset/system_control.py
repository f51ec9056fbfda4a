"""System control port A, 0x92, of the IBM PS/2: the quick way to enable address line 20 and to reset the machine."""

from collections.abc import Callable
from typing import Final, Self

from kev.dev.base import PlainDevice
from kev.dev.surroundings import Surroundings
from kev.state import Fields, bits

_PORT: Final = 0x92
_FAST_RESET: Final = 1 << 0
_ADDRESS_LINE_20: Final = 1 << 1


class SystemControlPort(PlainDevice):
    """Address line 20 is always enabled, whatever the port says; the port reads back what was written."""

    name: Final = "system control port"
    ports: Final = (range(_PORT, _PORT + 1),)

    FIELDS = Fields({"_value": bits(8)})

    __slots__ = ("_reset_machine", "_value")

    def __init__(self, reset_machine: Callable[[], None]) -> None:
        """`reset_machine` is called when the guest does that."""
        self._reset_machine = reset_machine
        self.reset()

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        return cls(machine.reset)

    def reset(self) -> None:
        self._value = _ADDRESS_LINE_20

    def read_port(self, port: int, size: int) -> int:
        return self._value

    def write_port(self, port: int, size: int, value: int) -> None:
        self._value = value & ~_FAST_RESET
        if value & _FAST_RESET:
            self._reset_machine()
