"""Ports with which a guest switches its machine off, and the rest of ACPI's registers."""

from collections.abc import Callable
from typing import Final, Self

from kev.clock import Clock
from kev.dev.base import DeviceError, PlainDevice
from kev.dev.surroundings import Surroundings
from kev.state import Fields, bits, integers

_PM1A_EVENT: Final = range(0x600, 0x604)
"""Two registers of 16 bits: status and enable."""
_ENABLE_SHIFT: Final = 16
PM1A_CONTROL: Final = 0x604
_TIMER: Final = range(0x608, 0x60C)
_PM1A_CONTROL_BOCHS: Final = 0xB004
_ACPI_ENABLED: Final = 1 << 0
"""SCI_EN. There is no SMI_CMD that would switch to ACPI mode, so the machine is in it."""
_SLEEP_ENABLE: Final = 1 << 13
_SLEEP_TYPE_SHIFT: Final = 10
_SLEEP_TYPE: Final = 7
"""SLP_EN and SLP_TYP (ACPI 6.5, section 4.8.3.2.1, "PM1 Control Registers"). Type 0 is soft-off here."""

_TIMER_FREQUENCY: Final = 3_579_545
_TIMER_BITS: Final = 24
_NANOSECONDS: Final = 1_000_000_000

_BOCHS_SHUTDOWN: Final = 0x8900
_SHUTDOWN_WORD: Final = b"Shutdown"


class AcpiPowerManagement(PlainDevice):
    """ACPI's fixed registers (ACPI 6.5, section 4.8.3): control, where QEMU (0x604) and Bochs (0xb004) have it, events that never
    happen, and the timer, which counts 24 bits at 3.579545 MHz.

    The enable register keeps what is written to it. A word or dword with SLP_EN to a control register ends the run: with exit code
    0 if its sleep type is soft-off. There is no other sleep state, and a guest that asks for one would wait for ever. All else is
    ignored there.
    """

    name: Final = "ACPI power management"
    ports: Final = (
        _PM1A_EVENT,
        range(PM1A_CONTROL, PM1A_CONTROL + 1),
        range(_PM1A_CONTROL_BOCHS, _PM1A_CONTROL_BOCHS + 1),
        _TIMER,
    )
    wide_ports: Final = ports

    FIELDS = Fields({"_enabled": bits(16)})

    __slots__ = ("_clock", "_enabled", "_power_off")

    def __init__(self, power_off: Callable[[int], None], clock: Clock) -> None:
        """`power_off` is called with the exit code."""
        self._clock = clock
        self._power_off = power_off
        self.reset()

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        return cls(machine.end, machine.clock)

    def reset(self) -> None:
        self._enabled = 0

    def read_port(self, port: int, size: int) -> int:
        if port in _TIMER:
            count = self._clock.now() * _TIMER_FREQUENCY // _NANOSECONDS & (1 << _TIMER_BITS) - 1
            return count >> 8 * (port - _TIMER.start) & (1 << 8 * size) - 1
        if port not in _PM1A_EVENT:
            return _ACPI_ENABLED
        return self._enabled << _ENABLE_SHIFT >> 8 * (port - _PM1A_EVENT.start) & (1 << 8 * size) - 1

    def write_port(self, port: int, size: int, value: int) -> None:
        if port in _PM1A_EVENT:
            shift = 8 * (port - _PM1A_EVENT.start)
            mask = (1 << 8 * size) - 1 << shift >> _ENABLE_SHIFT & 0xFFFF
            self._enabled = self._enabled & ~mask | value << shift >> _ENABLE_SHIFT & mask
        elif port not in _TIMER and size > 1 and value & _SLEEP_ENABLE:
            self._sleep(value >> _SLEEP_TYPE_SHIFT & _SLEEP_TYPE)

    def _sleep(self, sleep_type: int) -> None:
        if sleep_type:
            raise DeviceError(
                f"the guest asks for ACPI sleep type {sleep_type} (to suspend): there is no sleep state but soft-off, type 0"
            )
        self._power_off(0)


class BochsShutdown(PlainDevice):
    """Bochs's shutdown port, 0x8900: the bytes "Shutdown", one after the other, end the run with exit code 0."""

    name: Final = "Bochs shutdown"
    ports: Final = (range(_BOCHS_SHUTDOWN, _BOCHS_SHUTDOWN + 1),)

    FIELDS = Fields({"_matched": integers(0, len(_SHUTDOWN_WORD) - 1)})

    __slots__ = ("_matched", "_power_off")

    def __init__(self, power_off: Callable[[int], None]) -> None:
        """`power_off` is called with the exit code."""
        self._power_off = power_off
        self.reset()

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        return cls(machine.end)

    def reset(self) -> None:
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
