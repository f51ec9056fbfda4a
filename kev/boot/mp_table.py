"""The MP table: which processors and interrupt controllers there are (MultiProcessor Specification 1.4, chapter 4)."""

import struct
from collections.abc import Iterator
from typing import Final

from kev.addressing import Gpa
from kev.boot.checksum import with_checksum
from kev.dev.interrupts.io_apic import BASE_ADDRESS as IO_APIC_ADDRESS
from kev.dev.interrupts.irq import CASCADE_IRQ, ISA_IRQS, SOURCE_OVERRIDES
from kev.dev.interrupts.local_apic.apic import BASE_ADDRESS as LOCAL_APIC_ADDRESS

MAX_PROCESSORS: Final = 255
"""APIC ids have 8 bits here, and 255 means all of them. Further processors are in ACPI's table only."""

_FLOATING_POINTER: Final = struct.Struct("<4sIBBB5B")
_FLOATING_POINTER_CHECKSUM: Final = 10
_HEADER: Final = struct.Struct("<4sHBB8s12sIHHIHBx")
_HEADER_CHECKSUM: Final = 7
_PROCESSOR: Final = struct.Struct("<BBBBII8x")
_BUS: Final = struct.Struct("<BB6s")
_IO_APIC: Final = struct.Struct("<BBBBI")
_INTERRUPT: Final = struct.Struct("<BBHBBBB")

_PARAGRAPH: Final = 16
"""The unit of the floating pointer's length, in bytes."""
_REVISION: Final = 4
"""1.4."""
_VIRTUAL_WIRE: Final = (0, 0, 0, 0, 0)
"""Feature bytes. The first is 0: there is a table. Bit 7 of the second is clear: the 8259s interrupt through a local APIC."""

_PROCESSOR_ENTRY, _BUS_ENTRY, _IO_APIC_ENTRY, _IO_INTERRUPT_ENTRY, _LOCAL_INTERRUPT_ENTRY = range(5)
_INT, _NMI, _SMI, _EXT_INT = range(4)

_ENABLED: Final = 1 << 0
_BOOTSTRAP: Final = 1 << 1
_FAMILY_6: Final = 6 << 8
_FPU_AND_APIC: Final = 1 << 0 | 1 << 9
_LOCAL_APIC_VERSION: Final = 0x14
_IO_APIC_ID: Final = 0
"""What its id register holds at first."""
_IO_APIC_VERSION: Final = 0x11
_ISA_BUS: Final = 0
_CONFORMS_TO_BUS: Final = 0
"""Polarity and trigger mode: active high and edge on ISA."""
_EXT_INT_INPUT: Final = 0
_ALL_LOCAL_APICS: Final = 0xFF


def mp_table(base: Gpa, vcpus: int) -> bytes:
    """The floating pointer, which lies at `base`, a multiple of 16, and the configuration table behind it."""
    pointer = _FLOATING_POINTER.pack(
        b"_MP_", base + _FLOATING_POINTER.size, _FLOATING_POINTER.size // _PARAGRAPH, _REVISION, 0, *_VIRTUAL_WIRE
    )
    return with_checksum(pointer, _FLOATING_POINTER_CHECKSUM) + _configuration_table(min(vcpus, MAX_PROCESSORS))


def _configuration_table(processors: int) -> bytes:
    entries = [
        *_processors(processors),
        _BUS.pack(_BUS_ENTRY, _ISA_BUS, b"ISA   "),
        _IO_APIC.pack(_IO_APIC_ENTRY, _IO_APIC_ID, _IO_APIC_VERSION, _ENABLED, IO_APIC_ADDRESS),
        *_io_interrupts(),
        _local_interrupt(_EXT_INT, 0),
        _local_interrupt(_NMI, 1),
    ]
    body = b"".join(entries)
    header = _HEADER.pack(
        b"PCMP", _HEADER.size + len(body), _REVISION, 0, b"KEV     ", b"KEV         ", 0, 0, len(entries), LOCAL_APIC_ADDRESS, 0, 0
    )
    return with_checksum(header + body, _HEADER_CHECKSUM)


def _processors(count: int) -> Iterator[bytes]:
    for apic_id in range(count):
        flags = _ENABLED | (_BOOTSTRAP if apic_id == 0 else 0)
        yield _PROCESSOR.pack(_PROCESSOR_ENTRY, apic_id, _LOCAL_APIC_VERSION, flags, _FAMILY_6, _FPU_AND_APIC)


def _io_interrupts() -> Iterator[bytes]:
    yield _io_interrupt(_EXT_INT, 0, _EXT_INT_INPUT)
    for irq in range(ISA_IRQS):
        if irq != CASCADE_IRQ:
            yield _io_interrupt(_INT, irq, SOURCE_OVERRIDES.get(irq, irq))


def _io_interrupt(kind: int, irq: int, io_apic_input: int) -> bytes:
    return _INTERRUPT.pack(_IO_INTERRUPT_ENTRY, kind, _CONFORMS_TO_BUS, _ISA_BUS, irq, _IO_APIC_ID, io_apic_input)


def _local_interrupt(kind: int, local_input: int) -> bytes:
    return _INTERRUPT.pack(_LOCAL_INTERRUPT_ENTRY, kind, _CONFORMS_TO_BUS, _ISA_BUS, 0, _ALL_LOCAL_APICS, local_input)
