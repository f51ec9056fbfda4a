"""System control port A, 0x92, of the IBM PS/2: the quick way to enable address line 20 and to reset the machine."""

from collections.abc import Callable
from typing import Final

_PORT: Final = 0x92
_FAST_RESET: Final = 1 << 0
_ADDRESS_LINE_20: Final = 1 << 1


class SystemControlPort:
    """Address line 20 is always enabled, whatever the port says; the port reads back what was written."""

    ports: Final = (range(_PORT, _PORT + 1),)

    __slots__ = ("_reset", "_value")

    def __init__(self, reset: Callable[[], None]) -> None:
        """`reset` is called when the guest resets the machine."""
        self._reset = reset
        self._value = _ADDRESS_LINE_20

    def read_port(self, port: int, size: int) -> int:
        return self._value

    def write_port(self, port: int, size: int, value: int) -> None:
        self._value = value & ~_FAST_RESET
        if value & _FAST_RESET:
            self._reset()
