"""Ports with which a guest switches its machine off."""

from collections.abc import Callable
from typing import Final

_PM1A_EVENT: Final = range(0x600, 0x604)
_PM1A_CONTROL: Final = 0x604
_PM1A_CONTROL_BOCHS: Final = 0xB004
_SLEEP_ENABLE: Final = 0x2000
"""SLP_EN with sleep type 0, which is soft-off here (ACPI 6.5, section 4.8.3.2.1, "PM1 Control Registers")."""

_BOCHS_SHUTDOWN: Final = 0x8900
_SHUTDOWN_WORD: Final = b"Shutdown"


class AcpiPowerOff:
    """The ACPI power management control register where QEMU (0x604) and Bochs (0xb004) have it, and event registers without events.

    A word or dword 0x2000 to a control register ends the run with exit code 0. Every other value is ignored.
    """

    ports: Final = (
        _PM1A_EVENT,
        range(_PM1A_CONTROL, _PM1A_CONTROL + 1),
        range(_PM1A_CONTROL_BOCHS, _PM1A_CONTROL_BOCHS + 1),
    )
    wide_ports: Final = ports

    __slots__ = ("_power_off",)

    def __init__(self, power_off: Callable[[int], None]) -> None:
        """`power_off` is called with the exit code."""
        self._power_off = power_off

    def read_port(self, port: int, size: int) -> int:
        return 0

    def write_port(self, port: int, size: int, value: int) -> None:
        if size > 1 and port not in _PM1A_EVENT and value & 0xFFFF == _SLEEP_ENABLE:
            self._power_off(0)


class BochsShutdown:
    """Bochs's shutdown port, 0x8900: the bytes "Shutdown", one after the other, end the run with exit code 0."""

    ports: Final = (range(_BOCHS_SHUTDOWN, _BOCHS_SHUTDOWN + 1),)

    __slots__ = ("_matched", "_power_off")

    def __init__(self, power_off: Callable[[int], None]) -> None:
        """`power_off` is called with the exit code."""
        self._power_off = power_off
        self._matched = 0

    def read_port(self, port: int, size: int) -> int:
        return 0xFF

    def write_port(self, port: int, size: int, value: int) -> None:
        if value == _SHUTDOWN_WORD[self._matched]:
            self._matched += 1
        else:
            # "S" does not occur again in the word, so a failed match can only start over with this very byte.
            self._matched = int(value == _SHUTDOWN_WORD[0])
        if self._matched == len(_SHUTDOWN_WORD):
            self._matched = 0
            self._power_off(0)
