import struct

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import Gpa
from kev.boot.mp_table import mp_table
from kev.dev.interrupts.irq import SOURCE_OVERRIDES
from tests.boot.images import elf, multiboot1_header
from tests.boot.machine import Booted

BASE = 0xF0000
SIZES = {0: 20, 1: 8, 2: 8, 3: 8, 4: 8}
INT, NMI, EXT_INT = 0, 1, 3


@attrs.frozen
class MpTable:
    """Entries by type, as chapter 4 of the specification lays them out."""

    local_apic: int
    processors: list[tuple[int, ...]]
    buses: list[tuple[int, bytes]]
    io_apics: list[tuple[int, ...]]
    io_interrupts: list[tuple[int, ...]]
    local_interrupts: list[tuple[int, ...]]


def parse(data: bytes, base: int = BASE) -> MpTable:
    signature, address, length, revision = struct.unpack_from("<4sIBB", data)
    assert (signature, length, revision) == (b"_MP_", 1, 4)
    assert sum(data[:16]) % 256 == 0
    assert data[11:16] == bytes(5), "a configuration table, and virtual wire mode"
    table = data[address - base :]
    signature, length, revision, _, _, _, oem_table, _, count, local_apic, extended = struct.unpack_from("<4sHBB8s12sIHHIH", table)
    assert (signature, revision, oem_table, extended) == (b"PCMP", 4, 0, 0)
    assert sum(table[:length]) % 256 == 0
    entries: dict[int, list[bytes]] = {kind: [] for kind in SIZES}
    position = 44
    kinds = []
    for _ in range(count):
        kind = table[position]
        kinds.append(kind)
        entries[kind].append(table[position : position + SIZES[kind]])
        position += SIZES[kind]
    assert position == length
    assert kinds == sorted(kinds)
    return MpTable(
        local_apic=local_apic,
        processors=[struct.unpack("<BBB", entry[1:4]) for entry in entries[0]],
        buses=[(entry[1], entry[2:]) for entry in entries[1]],
        io_apics=[struct.unpack("<BBBI", entry[1:]) for entry in entries[2]],
        io_interrupts=[struct.unpack("<BHBBBB", entry[1:]) for entry in entries[3]],
        local_interrupts=[struct.unpack("<BHBBBB", entry[1:]) for entry in entries[4]],
    )


@given(st.integers(1, 300))
def test_every_processor_that_8_bits_can_name_is_listed_and_the_first_is_the_bootstrap_processor(vcpus: int) -> None:
    table = parse(mp_table(Gpa(BASE), vcpus))
    assert [(apic, flags) for apic, _, flags in table.processors] == [
        (apic, 3 if apic == 0 else 1) for apic in range(min(vcpus, 255))
    ]


def test_the_controllers_are_where_the_machine_has_them() -> None:
    table = parse(mp_table(Gpa(BASE), 2))
    assert table.local_apic == 0xFEE00000
    assert table.io_apics == [(0, 0x11, 1, 0xFEC00000)]
    assert table.buses == [(0, b"ISA   ")]


def test_isa_interrupts_are_wired_as_they_are() -> None:
    interrupts = parse(mp_table(Gpa(BASE), 1)).io_interrupts
    assert interrupts[0] == (EXT_INT, 0, 0, 0, 0, 0), "the 8259s' output is input 0"
    wired = {irq: gsi for kind, _, _, irq, _, gsi in interrupts if kind == INT}
    assert wired == {irq: SOURCE_OVERRIDES.get(irq, irq) for irq in range(16) if irq != 2}


def test_the_8259s_reach_lint0_and_nmi_reaches_lint1() -> None:
    assert parse(mp_table(Gpa(BASE), 1)).local_interrupts == [(EXT_INT, 0, 0, 0, 0xFF, 0), (NMI, 0, 0, 0, 0xFF, 1)]


@pytest.mark.parametrize("vcpus", [1, 64, 255])
def test_a_kernel_finds_it_in_the_bios_area(vcpus: int) -> None:
    booted = Booted(elf(multiboot1_header()), vcpus=vcpus)
    assert not booted.is_loaded(BASE)
    assert len(parse(booted.read(BASE, 0x2000)).processors) == vcpus
