"""The local APIC's register file, once as the xAPIC's page and once as the x2APIC's MSRs.

Registers are named by their offset into the xAPIC's page (SDM table 11-1); the MSR of a register is 0x800 + offset / 16 (table
11-6). Not here: the writes that reach beyond one local APIC, which are those of EOI, ICR and SELF IPI.
"""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Final, TypeAlias

from kev.dev.interrupts.local_apic.apic import LVT_WRITABLE, LocalApic, Lvt
from kev.named_tuple import NamedTuple

Reader: TypeAlias = Callable[[LocalApic], int]
Writer: TypeAlias = Callable[[LocalApic, int], object]

ID: Final = 0x20
VERSION: Final = 0x30
TASK_PRIORITY: Final = 0x80
ARBITRATION_PRIORITY: Final = 0x90
PROCESSOR_PRIORITY: Final = 0xA0
END_OF_INTERRUPT: Final = 0xB0
REMOTE_READ: Final = 0xC0
LOGICAL_DESTINATION: Final = 0xD0
DESTINATION_FORMAT: Final = 0xE0
SPURIOUS_VECTOR: Final = 0xF0
IN_SERVICE: Final = 0x100
TRIGGER_MODE: Final = 0x180
INTERRUPT_REQUEST: Final = 0x200
ERROR_STATUS: Final = 0x280
INTERRUPT_COMMAND: Final = 0x300
INTERRUPT_COMMAND_HIGH: Final = 0x310
LVT_TIMER: Final = 0x320
INITIAL_COUNT: Final = 0x380
CURRENT_COUNT: Final = 0x390
DIVIDE_CONFIGURATION: Final = 0x3E0
SELF_IPI: Final = 0x3F0

VERSION_VALUE: Final = 0x5_0014
"""An integrated APIC with six LVT entries."""

_SPURIOUS_WRITABLE: Final = 0x3FF
_DIVIDE_WRITABLE: Final = 0xB
_LVT_READ_ONLY: Final = 0x5000
"""Delivery status and remote IRR, which come back whenever software reads, changes and writes an entry."""


def _vector_set(offset: int, name: str) -> dict[int, Reader]:
    """Eight registers of 32 vectors each."""

    def word(shift: int) -> Reader:
        return lambda apic: getattr(apic, name) >> shift & 0xFFFF_FFFF

    return {offset + 0x10 * index: word(32 * index) for index in range(8)}


def _lvt_reader(entry: Lvt) -> Reader:
    return lambda apic: apic.lvt[entry]


def _lvt_writer(entry: Lvt) -> Writer:
    return lambda apic, value: apic.set_lvt(entry, value)


def _write_spurious(apic: LocalApic, value: int) -> None:
    apic.spurious = value & _SPURIOUS_WRITABLE


def _write_initial_count(apic: LocalApic, value: int) -> None:
    apic.timer.initial_count = value


def _write_divide_configuration(apic: LocalApic, value: int) -> None:
    apic.timer.divide_configuration = value & _DIVIDE_WRITABLE


def _write_logical_destination(apic: LocalApic, value: int) -> None:
    apic.logical_destination = value >> 24


def _write_destination_format(apic: LocalApic, value: int) -> None:
    apic.destination_format = value >> 28


def _write_command_high(apic: LocalApic, value: int) -> None:
    apic.interrupt_command = apic.interrupt_command & 0xFFFF_FFFF | value << 32


_COMMON_READERS: Final[Mapping[int, Reader]] = {
    VERSION: lambda apic: VERSION_VALUE,
    TASK_PRIORITY: attrgetter("tpr"),
    PROCESSOR_PRIORITY: attrgetter("processor_priority"),
    SPURIOUS_VECTOR: attrgetter("spurious"),
    ERROR_STATUS: lambda apic: int(apic.error_status),
    INITIAL_COUNT: attrgetter("timer.initial_count"),
    CURRENT_COUNT: attrgetter("timer.current_count"),
    DIVIDE_CONFIGURATION: attrgetter("timer.divide_configuration"),
    **_vector_set(IN_SERVICE, "isr"),
    **_vector_set(TRIGGER_MODE, "tmr"),
    **_vector_set(INTERRUPT_REQUEST, "irr"),
    **{LVT_TIMER + 0x10 * entry: _lvt_reader(entry) for entry in Lvt},
}

_COMMON_WRITERS: Final[Mapping[int, Writer]] = {
    TASK_PRIORITY: lambda apic, value: apic.set_task_priority(value & 0xFF),
    SPURIOUS_VECTOR: _write_spurious,
    ERROR_STATUS: lambda apic, value: apic.latch_errors(),
    INITIAL_COUNT: _write_initial_count,
    DIVIDE_CONFIGURATION: _write_divide_configuration,
    **{LVT_TIMER + 0x10 * entry: _lvt_writer(entry) for entry in Lvt},
}

XAPIC_READERS: Final[Mapping[int, Reader]] = {
    **_COMMON_READERS,
    ID: lambda apic: apic.id << 24,
    ARBITRATION_PRIORITY: attrgetter("arbitration_priority"),
    END_OF_INTERRUPT: lambda apic: 0,
    REMOTE_READ: lambda apic: 0,
    LOGICAL_DESTINATION: lambda apic: apic.logical_destination << 24,
    DESTINATION_FORMAT: lambda apic: apic.destination_format << 28 | 0x0FFF_FFFF,
    INTERRUPT_COMMAND: lambda apic: apic.interrupt_command & 0xFFFF_FFFF,
    INTERRUPT_COMMAND_HIGH: lambda apic: apic.interrupt_command >> 32,
}

XAPIC_WRITERS: Final[Mapping[int, Writer]] = {
    **_COMMON_WRITERS,
    LOGICAL_DESTINATION: _write_logical_destination,
    DESTINATION_FORMAT: _write_destination_format,
    INTERRUPT_COMMAND_HIGH: _write_command_high,
}

STEADY: Final = frozenset(
    {
        ID,
        VERSION,
        TASK_PRIORITY,
        LOGICAL_DESTINATION,
        DESTINATION_FORMAT,
        SPURIOUS_VECTOR,
        ERROR_STATUS,
        INTERRUPT_COMMAND,
        INTERRUPT_COMMAND_HIGH,
        INITIAL_COUNT,
        DIVIDE_CONFIGURATION,
        *(LVT_TIMER + 0x10 * entry for entry in Lvt),
    }
)
"""Registers of the xAPIC that nothing changes but writes to registers, CR8, IA32_APIC_BASE, and INIT."""


class X2ApicRegister(NamedTuple):
    read: Reader
    write: Writer | None
    """None: read-only."""
    defined: int
    """The bits that are not reserved. Setting any other raises #GP."""


_X2APIC_READERS: Final[Mapping[int, Reader]] = {
    **_COMMON_READERS,
    ID: attrgetter("id"),
    LOGICAL_DESTINATION: attrgetter("x2apic_logical_id"),
    INTERRUPT_COMMAND: attrgetter("interrupt_command"),
}

_X2APIC_DEFINED: Final[Mapping[int, int]] = {
    TASK_PRIORITY: 0xFF,
    SPURIOUS_VECTOR: _SPURIOUS_WRITABLE,
    ERROR_STATUS: 0,
    INITIAL_COUNT: 0xFFFF_FFFF,
    DIVIDE_CONFIGURATION: _DIVIDE_WRITABLE,
    **{LVT_TIMER + 0x10 * entry: LVT_WRITABLE[entry] | _LVT_READ_ONLY for entry in Lvt},
}


def msr(offset: int) -> int:
    """The x2APIC MSR of the register at `offset`."""
    return 0x800 + (offset >> 4)


X2APIC_REGISTERS: Final[Mapping[int, X2ApicRegister]] = {
    msr(offset): X2ApicRegister(read, _COMMON_WRITERS.get(offset), _X2APIC_DEFINED.get(offset, 0))
    for offset, read in _X2APIC_READERS.items()
}
"""By MSR."""
