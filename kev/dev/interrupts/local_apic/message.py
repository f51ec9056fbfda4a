"""The interrupt messages that local APICs and the I/O APIC exchange."""

from enum import IntEnum
from typing import Final

from kev.named_tuple import NamedTuple


class DeliveryMode(IntEnum):
    """What a message does to its destination: bits 8-10 of an ICR, a redirection entry or an LVT entry."""

    FIXED = 0
    LOWEST_PRIORITY = 1
    SMI = 2
    RESERVED = 3
    NMI = 4
    INIT = 5
    STARTUP = 6
    EXTINT = 7


_XAPIC_BROADCAST: Final = 0xFF
_X2APIC_BROADCAST: Final = 0xFFFF_FFFF


class InterruptMessage(NamedTuple):
    mode: DeliveryMode
    vector: int
    destination: int
    """An APIC id, or a logical destination if `logical`; all ones for everyone."""
    logical: bool = False
    level_triggered: bool = False
    wide: bool = False
    """The destination is x2APIC's: 32 bits. Otherwise 8 bits."""

    @property
    def is_broadcast(self) -> bool:
        return self.destination == (_X2APIC_BROADCAST if self.wide else _XAPIC_BROADCAST)
