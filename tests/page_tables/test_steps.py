"""Walks that a person checks entry by entry."""

import pytest

from kev.addressing import GIB, MIB, Gpa, Hpa
from kev.host_memory import HostMemory
from kev.page_tables.ept import EptFormat
from kev.page_tables.errors import AddressOutOfRange, Misconfigured, NotPresent, UnalignedAddress
from kev.page_tables.format import EntryFormat
from kev.page_tables.mapping import MemoryType, PageSize, Permissions
from kev.page_tables.steps import walk
from kev.page_tables.table import PageTable
from tests.fs.errors import refused
from tests.page_tables.entries import entry_location


@pytest.fixture
def table(memory: HostMemory) -> PageTable:
    table = PageTable(memory, EptFormat())
    table.map(Gpa(0x5000), Hpa(0x7000), Permissions.RX, memory_type=MemoryType.UC)
    table.map(Gpa(2 * MIB), Hpa(64 * MIB), size=PageSize.SIZE_2M)
    return table


def change(table: PageTable, gpa: int, level: int, cleared: int, written: int) -> int:
    location = entry_location(table, gpa, level)
    table.memory.words[location >> 3] = table.memory.words[location >> 3] & ~cleared | written
    return location


def test_every_entry_is_shown_with_what_it_means(table: PageTable) -> None:
    walked = walk(table, 0x5000)
    assert walked.hpa == 0x7000
    assert walked.error is None
    assert [str(step) for step in walked.steps] == [
        "PML4E[0]   at 0x1000: 0x0000000000002007  table at 0x2000, RWX",
        "PDPTE[0]   at 0x2000: 0x0000000000003007  table at 0x3000, RWX",
        "PDE[0]     at 0x3000: 0x0000000000004007  table at 0x4000, RWX",
        "PTE[5]     at 0x4028: 0x0000000000007005  page at 0x7000, 4 KiB, R-X, UC",
    ]


def test_a_large_page_ends_the_walk_and_the_offset_counts(table: PageTable) -> None:
    walked = walk(table, 2 * MIB + 0x3000)
    assert walked.hpa == 64 * MIB + 0x3000
    assert walked.steps[-1].meaning == "page at 0x4000000, 2 MiB, RWX, WB"


def test_bits_beside_address_and_permissions_are_named(table: PageTable) -> None:
    change(table, 0x5000, 1, 0, 1 << 6 | 1 << 8 | 1 << 9 | 1 << 63)
    assert walk(table, 0x5000).steps[-1].meaning.endswith("R-X, UC, ignore PAT, accessed, dirty, suppress #VE")


@pytest.mark.parametrize(("gpa", "level"), [(0x6000, 1), (GIB, 3), (1 << 40, 4)])
def test_a_walk_ends_where_nothing_is_mapped(table: PageTable, gpa: int, level: int) -> None:
    walked = walk(table, gpa)
    assert walked.hpa is None
    assert (walked.steps[-1].level, walked.steps[-1].meaning) == (level, "not present")
    assert isinstance(walked.error, NotPresent)
    assert f"guest-physical address {gpa:#x} is not present" in str(walked.error)


@pytest.mark.parametrize(
    ("level", "cleared", "written", "problem"),
    [
        (1, 7, 2, "a writable page must be readable"),
        (1, 0, 7 << 3, "memory type 7 is reserved"),
        (3, 0, 0x20, "reserved bits 0x20 are set"),
        (2, 0, 1 << 45, "its table is outside host memory of 0x4000000 bytes"),
    ],
)
def test_a_walk_ends_where_an_entry_is_misconfigured(
    table: PageTable, level: int, cleared: int, written: int, problem: str
) -> None:
    location = change(table, 0x5000, level, cleared, written)
    walked = walk(table, 0x5000)
    assert walked.hpa is None
    assert walked.steps[-1].level == level
    assert isinstance(walked.error, Misconfigured)
    assert str(walked.error).endswith(f"at {location:#x}: {problem}")


def test_an_address_that_is_no_pages_is_refused_with_the_page_that_it_is_in(table: PageTable) -> None:
    with refused(UnalignedAddress, "guest-physical address 0x5123 is not a multiple of 0x1000; its page begins at 0x5000"):
        walk(table, 0x5123)


@pytest.mark.parametrize("gpa", [1 << 48, -0x1000])
def test_an_address_that_four_levels_cannot_translate_is_refused(table: PageTable, gpa: int) -> None:
    with pytest.raises(AddressOutOfRange, match=f"guest-physical address {gpa:#x} "):
        walk(table, gpa)


def test_a_walk_finds_what_the_table_translates_to(memory: HostMemory, entry_format: EntryFormat) -> None:
    table = PageTable(memory, entry_format)
    table.map(Gpa(0x5000), Hpa(0x7000))
    table.map(Gpa(2 * MIB), Hpa(64 * MIB), size=PageSize.SIZE_2M)
    table.map(Gpa(GIB), Hpa(3 * GIB), size=PageSize.SIZE_1G)
    for gpa in (0, 0x5000, 2 * MIB + 0x3000, GIB + 0x5000, 2 * GIB):
        assert walk(table, gpa).hpa == table.translate(gpa)
