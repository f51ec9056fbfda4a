"""Walks of a guest's page tables, against the translation that the hypervisor itself uses."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import MIB, PAGE_SIZE, Gpa
from kev.exits import Access
from kev.page_tables.guest import GuestFault, translate
from kev.pager.kernel import KernelVmPager
from kev.postmortem.address_space import MOST_MAPPINGS, mappings
from kev.postmortem.address_space import Mapping as Mapped
from kev.postmortem.loaded_memory import LoadedMemory, Unreadable
from kev.postmortem.walk import walk
from tests.page_tables.guest_memory import (
    LARGE,
    NO_EXECUTE,
    PAE,
    PRESENT,
    PSE,
    RW,
    RWU,
    USER,
    WRITABLE,
    Registers,
    long_mode,
    pae,
    protected_mode,
)
from tests.postmortem.guest_memory import pager_with, words

TABLES = [0x1000, 0x2000, 0x3000, 0x4000]
"""Where tables are, the first of them the one that CR3 points to."""
ABSENT = 0x9000
"""A page of RAM that is not loaded."""


def pager_with_entries(entries: Mapping[int, int], size: int = 8) -> KernelVmPager:
    """All tables are loaded, and zeros but for these entries, by guest-physical address."""
    pager = pager_with(dict.fromkeys(TABLES, bytes(PAGE_SIZE)))
    for gpa, entry in entries.items():
        hpa = pager.gpa2hpa(Gpa(gpa))
        assert hpa is not None
        pager.memory.view[hpa : hpa + size] = entry.to_bytes(size, "little")
    return pager


FOUR_LEVELS = {0x1000: 0x2000 | RWU, 0x2000: 0x3000 | RWU, 0x3000: 0x4000 | RWU, 0x4008: 0x5000 | RW}


def test_a_walk_of_four_levels_has_an_entry_for_each() -> None:
    found = walk(pager_with_entries(FOUR_LEVELS), long_mode(), 0x1234)
    assert [(entry.level, entry.gpa) for entry in found.entries] == [
        ("PML4E", 0x1000),
        ("PDPTE", 0x2000),
        ("PDE", 0x3000),
        ("PTE", 0x4008),
    ]
    assert (found.mode, found.gpa, found.stopped) == ("4-level", 0x5234, None)
    assert found.as_text()[1] == "PML4E at 0x1000: 0x0000000000002007 P W U"
    assert found.as_text()[-1] == "gpa 0x5234, page 0x5000: absent, RAM"


def test_it_says_which_entry_stops_it() -> None:
    found = walk(pager_with_entries(FOUR_LEVELS), long_mode(), 0x40_0000)
    assert found.stopped == "the PDE is not present"
    assert [entry.level for entry in found.entries] == ["PML4E", "PDPTE", "PDE"]
    assert found.gpa is None


def test_it_says_which_entry_does_not_allow_the_access() -> None:
    entries = FOUR_LEVELS | {0x2000: 0x3000 | PRESENT | USER, 0x4008: 0x5000 | RW | NO_EXECUTE}
    pager = pager_with_entries(entries)
    assert walk(pager, long_mode(), 0x1000, Access.READ, user=True).stopped == "the PTE does not allow CPL 3"
    assert walk(pager, long_mode(cr0=1 << 16), 0x1000, Access.WRITE).stopped == "the PDPTE does not allow writes"
    assert walk(pager, long_mode(), 0x1000, Access.EXECUTE).stopped == "the PTE does not allow execution"
    assert walk(pager, long_mode(), 0x1000, Access.READ).stopped is None


def test_reserved_bits_are_told_from_an_entry_that_is_not_present() -> None:
    pager = pager_with_entries(FOUR_LEVELS | {0x4008: 0x5000 | RW | NO_EXECUTE})
    assert walk(pager, long_mode(efer=0), 0x1000).stopped == "the PTE sets reserved bits"


def test_an_address_that_is_not_canonical_is_not_walked() -> None:
    found = walk(pager_with_entries(FOUR_LEVELS), long_mode(), 1 << 50)
    assert (found.entries, found.stopped) == ((), "the address is not canonical")


def test_a_table_that_is_not_loaded_ends_the_walk_and_is_not_loaded_for_it() -> None:
    pager = pager_with_entries(FOUR_LEVELS | {0x3000: ABSENT | RW})
    loads = pager.statistics.loads
    found = walk(pager, long_mode(), 0x1000)
    assert found.stopped == f"the PTE at {ABSENT + 8:#x} cannot be read"
    assert str(found.page) == f"page {ABSENT:#x}: absent, RAM"
    assert pager.statistics.loads == loads
    assert pager.gpa2hpa(Gpa(ABSENT)) is None


def test_large_pages_end_a_walk_early() -> None:
    found = walk(pager_with_entries(FOUR_LEVELS | {0x3000: 2 * MIB | RW | LARGE}), long_mode(), 0x1234)
    assert [entry.level for entry in found.entries] == ["PML4E", "PDPTE", "PDE"]
    assert found.gpa == 2 * MIB + 0x1234
    assert found.entries[-1].flags == "P W PS"


@pytest.mark.parametrize(
    ("registers", "entries", "size", "levels"),
    [
        (protected_mode(), {0x1000: 0x2000 | RW, 0x2004: 0x5000 | RW}, 4, ["PDE", "PTE"]),
        (protected_mode(), {0x1000: LARGE | RW}, 4, ["PDE"]),
        (pae(), {0x1000: 0x2000 | PRESENT, 0x2000: 0x3000 | RW, 0x3008: 0x5000 | RW}, 8, ["PDPTE", "PDE", "PTE"]),
    ],
)
def test_the_other_modes_have_fewer_levels(registers: Registers, entries: dict[int, int], size: int, levels: list[str]) -> None:
    found = walk(pager_with_entries(entries, size), registers, 0x1234, Access.WRITE)
    assert [entry.level for entry in found.entries] == levels
    assert found.stopped is None


def test_without_paging_there_is_nothing_to_walk() -> None:
    found = walk(pager_with_entries({}), Registers(cr0=1), 0x1_0000_1234)
    assert (found.mode, found.entries, found.gpa) == ("no paging", (), 0x1234)


@pytest.mark.parametrize(
    ("gpa", "text"),
    [
        (0x10_0010, "page 0x100000: absent, from kernel at offset 0x0, segment at 0x100000"),
        (0x10_2000, "page 0x102000: absent, partly from kernel at offset 0x2000, kernel at offset 0x4000, else zeros"),
        (0x10_5000, "page 0x105000: absent, zeros of the segment at 0x102800"),
        (0x20_0000, "page 0x200000: absent, RAM"),
        (0x1000, "page 0x1000: present, RAM"),
        (0xC000_0000, "page 0xc0000000: there is no memory and no device"),
        (0xFEE0_0020, "page 0xfee00000: registers of a local APIC"),
    ],
)
def test_it_says_what_stands_behind_the_page(gpa: int, text: str) -> None:
    pager = pager_with_entries({})
    found = walk(pager, Registers(cr0=1), gpa, device_at=lambda page: "a local APIC" if page >= 0xFEE0_0000 else None)
    assert str(found.page) == text


REGISTERS = st.sampled_from(
    [
        *(long_mode(efer=efer, cr0=wp) for efer in (0, 1 << 11) for wp in (0, 1 << 16)),
        *(pae(efer=efer) for efer in (0, 1 << 11)),
        *(protected_mode(cr4=cr4) for cr4 in (0, PSE)),
        Registers(cr0=1, cr4=PAE),
    ]
)
ENTRY = st.builds(
    lambda table, flags: table | flags,
    st.sampled_from([*TABLES, 0x5000, 0x40_0000, ABSENT]),
    st.sampled_from([0, PRESENT, RW, RWU, PRESENT | USER, RW | LARGE, RWU | NO_EXECUTE, RW | 1 << 51, WRITABLE]),
)
ENTRIES = st.dictionaries(st.builds(lambda table, index: table + 8 * index, st.sampled_from(TABLES), st.integers(0, 3)), ENTRY)
ADDRESSES = st.one_of(
    st.builds(
        lambda four, three, two, one: four << 39 | three << 30 | two << 21 | one << 12 | 0x123,
        *(st.integers(0, 3) for _ in range(4)),
    ),
    st.integers(0, (1 << 64) - 1),
)


@given(registers=REGISTERS, entries=ENTRIES, linear=ADDRESSES, access=st.sampled_from([None, *Access]), user=st.booleans())
def test_a_walk_comes_to_what_a_translation_comes_to(
    registers: Registers, entries: dict[int, int], linear: int, access: Access | None, user: bool
) -> None:
    pager = pager_with_entries(entries)
    memory = LoadedMemory(pager)
    found = walk(pager, registers, linear, access, user=user)
    assert len(found.as_text()) >= 1
    try:
        gpa = translate(memory.read_entry, registers, linear, access, user=user)
    except (GuestFault, Unreadable):
        assert found.stopped is not None
    else:
        assert (found.gpa, found.stopped) == (gpa, None)
    for entry in found.entries:
        assert entry.value == memory.read_entry(entry.gpa, entry.size)
    assert all(entry.value & PRESENT for entry in found.entries[:-1])


@given(registers=REGISTERS, entries=ENTRIES)
def test_what_is_mapped_is_what_translates(registers: Registers, entries: dict[int, int]) -> None:
    pager = pager_with_entries(entries)
    memory = LoadedMemory(pager)
    found = list(mappings(memory, registers))
    assert found == sorted(found)
    for mapping in found[:20]:
        for linear in (mapping.linear, mapping.end - PAGE_SIZE):
            try:
                gpa = memory.translate(registers, linear)
            except Unreadable:
                # Reserved bits, of which the enumeration takes no notice.
                continue
            assert gpa == mapping.gpa + linear - mapping.linear


@given(registers=REGISTERS, entries=ENTRIES, linear=ADDRESSES)
def test_what_translates_is_mapped(registers: Registers, entries: dict[int, int], linear: int) -> None:
    memory = LoadedMemory(pager_with_entries(entries))
    if not registers.efer & 1 << 10:
        linear &= 0xFFFF_FFFF
    try:
        gpa = memory.translate(registers, linear)
    except Unreadable:
        return
    assert [m.gpa + linear - m.linear for m in mappings(memory, registers) if m.linear <= linear < m.end] == [gpa]


def test_mappings_that_follow_each_other_are_one() -> None:
    entries = FOUR_LEVELS | {0x4008: 0x5000 | RW, 0x4010: 0x6000 | RW, 0x4018: 0x8000 | RW}
    found = list(mappings(LoadedMemory(pager_with_entries(entries)), long_mode()))
    assert found == [Mapped(0x1000, 0x5000, 0x2000), Mapped(0x3000, 0x8000, 0x1000)]


def test_tables_that_are_nested_without_end_come_to_one() -> None:
    pager = pager_with({0x1000: words(*[0x1000 | RW] * 512)})
    assert len(list(mappings(LoadedMemory(pager), long_mode()))) == MOST_MAPPINGS
