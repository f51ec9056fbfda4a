"""The I/O APIC: 24 inputs, each with its entry in a redirection table (Intel 82093AA datasheet)."""

from collections.abc import Callable
from typing import Final

from kev.addressing import PAGE_SIZE, Gpa
from kev.dev.base import PlainDevice
from kev.dev.interrupts.local_apic.message import DeliveryMode, InterruptMessage
from kev.state import Fields, bits, listed

INPUTS: Final = 24
BASE_ADDRESS: Final = 0xFEC0_0000

_SELECT: Final = 0x00
_WINDOW: Final = 0x10

_ID: Final = 0
_VERSION: Final = 1
_ARBITRATION: Final = 2
_REDIRECTION_TABLE: Final = 0x10

_VERSION_VALUE: Final = (INPUTS - 1) << 16 | 0x11
_ID_WRITABLE: Final = 0x0F00_0000

_LOGICAL: Final = 1 << 11
_REMOTE_IRR: Final = 1 << 14
_LEVEL_TRIGGERED: Final = 1 << 15
_MASKED: Final = 1 << 16
_READ_ONLY: Final = 1 << 12 | _REMOTE_IRR
_WRITABLE: Final = 0xFF00_0000_0001_FFFF & ~_READ_ONLY


_MODES: Final = tuple(DeliveryMode)


def _is_level_triggered(entry: int) -> bool:
    """Only fixed and lowest-priority interrupts can be: the others have no end of interrupt."""
    return bool(entry & _LEVEL_TRIGGERED) and entry >> 8 & 7 <= DeliveryMode.LOWEST_PRIORITY


class IoApic(PlainDevice):
    """An `MmioDevice` at 0xfec00000.

    Inputs are asserted or not: a guest may program either polarity, which is stored and makes no difference.
    """

    __slots__ = ("_entries", "_id", "_lines", "_select", "_send")

    FIELDS = Fields({"_id": bits(32), "_select": bits(8), "_entries": listed(bits(64), INPUTS), "_lines": bits(INPUTS)})

    name: Final = "I/O APIC"
    gpa: Final = Gpa(BASE_ADDRESS)
    length: Final = PAGE_SIZE

    def __init__(self, send: Callable[[InterruptMessage], bool]) -> None:
        """`send` delivers a message to the local APICs and says whether one of them has taken it."""
        self._send = send
        self.reset()

    def reset(self) -> None:
        self._id = 0
        self._select = 0
        self._entries = [_MASKED] * INPUTS
        self._lines = 0

    def set_line(self, gsi: int, asserted: bool) -> None:
        """Sets the level of input `gsi`, 0 to 23."""
        bit = 1 << gsi
        if not asserted:
            self._lines &= ~bit
        elif not self._lines & bit:
            self._lines |= bit
            entry = self._entries[gsi]
            if _is_level_triggered(entry):
                self._serve_level(gsi)
            elif not entry & _MASKED:
                self._deliver(entry)

    def end_of_interrupt(self, vector: int) -> None:
        """A local APIC has ended the service of a level-triggered vector: inputs that are still asserted interrupt again."""
        for gsi, entry in enumerate(self._entries):
            if entry & _REMOTE_IRR and entry & 0xFF == vector:
                self._entries[gsi] = entry & ~_REMOTE_IRR
                self._serve_level(gsi)

    def _serve_level(self, gsi: int) -> None:
        entry = self._entries[gsi]
        if self._lines & 1 << gsi and not entry & (_MASKED | _REMOTE_IRR) and self._deliver(entry):
            self._entries[gsi] |= _REMOTE_IRR

    def _deliver(self, entry: int) -> bool:
        return self._send(
            InterruptMessage(
                mode=_MODES[entry >> 8 & 7],
                vector=entry & 0xFF,
                destination=entry >> 56,
                logical=bool(entry & _LOGICAL),
                level_triggered=_is_level_triggered(entry),
            )
        )

    # MmioDevice

    def read_mmio(self, vcpu: int, offset: int, size: int) -> int:
        if offset == _SELECT:
            return self._select
        if offset == _WINDOW:
            return self._read_register(self._select) & (1 << 8 * size) - 1
        return 0

    def write_mmio(self, vcpu: int, offset: int, size: int, value: int) -> None:
        if offset == _SELECT:
            self._select = value & 0xFF
        elif offset == _WINDOW:
            self._write_register(self._select, value & 0xFFFF_FFFF)

    def _read_register(self, index: int) -> int:
        if index in (_ID, _ARBITRATION):
            return self._id
        if index == _VERSION:
            return _VERSION_VALUE
        gsi, high = divmod(index - _REDIRECTION_TABLE, 2)
        if not 0 <= gsi < INPUTS:
            return 0
        return self._entries[gsi] >> 32 * high & 0xFFFF_FFFF

    def _write_register(self, index: int, value: int) -> None:
        gsi, high = divmod(index - _REDIRECTION_TABLE, 2)
        if index == _ID:
            self._id = value & _ID_WRITABLE
        elif 0 <= gsi < INPUTS:
            old = self._entries[gsi]
            new = old & 0xFFFF_FFFF | value << 32 if high else old & ~0xFFFF_FFFF | value
            self._write_entry(gsi, new & _WRITABLE | old & _READ_ONLY)

    def _write_entry(self, gsi: int, entry: int) -> None:
        """A level-triggered input that is asserted may interrupt at once; an edge that came while it was masked is lost."""
        if _is_level_triggered(entry):
            self._entries[gsi] = entry
            self._serve_level(gsi)
        else:
            self._entries[gsi] = entry & ~_REMOTE_IRR
