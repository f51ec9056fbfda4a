from collections.abc import Callable

import pytest

from kev.addressing import GIB, MIB, Gpa, Hpa
from kev.host_memory import HostMemory
from kev.page_tables.audit import audit, compare
from kev.page_tables.ept import EptFormat
from kev.page_tables.mapping import MappedRange, MemoryType, PageSize, Permissions
from kev.page_tables.npt import NptFormat
from kev.page_tables.table import PageTable
from tests.page_tables.entries import entry_location

SMALL_PAGE = 0x5000
LARGE_PAGE = 2 * MIB
HUGE_PAGE = GIB
OUTSIDE = 1 << 40


@pytest.fixture
def mixed(table: PageTable) -> PageTable:
    """A table with a page of each size, below guest-physical 2 GiB."""
    table.map(Gpa(SMALL_PAGE), Hpa(0x7000))
    table.map(Gpa(LARGE_PAGE), Hpa(4 * MIB), size=PageSize.SIZE_2M)
    table.map(Gpa(HUGE_PAGE), Hpa(2 * GIB), size=PageSize.SIZE_1G)
    return table


def damage(table: PageTable, gpa: int, level: int, change: Callable[[int], int]) -> str:
    """Changes one entry; returns how a finding about it begins."""
    location = entry_location(table, gpa, level)
    entry = table.memory.words[location >> 3] = change(table.memory.words[location >> 3])
    name = f"{table.format.name} {('PTE', 'PDE', 'PDPTE', 'PML4E')[level - 1]}"
    start = gpa >> 3 + 9 * level << 3 + 9 * level
    end = start + (1 << 3 + 9 * level) - 1
    return f"{start:#018x}-{end:#018x}  entry: {name} {entry:#018x} at {location:#x}: "


def findings(table: PageTable, host_limit: int | None = None) -> list[str]:
    return [str(finding) for finding in audit(table, host_limit=host_limit)]


def test_a_well_formed_table_has_no_findings(mixed: PageTable) -> None:
    assert audit(mixed) == []


@pytest.mark.parametrize(("gpa", "size"), [(LARGE_PAGE, "2 MiB"), (HUGE_PAGE, "1 GiB")])
def test_an_unaligned_large_page_is_found(mixed: PageTable, gpa: int, size: str) -> None:
    level = {"2 MiB": 2, "1 GiB": 3}[size]
    place = damage(mixed, gpa, level, lambda entry: entry | 0x6000)
    (finding,) = findings(mixed)
    assert finding.startswith(place + "its page at ")
    assert finding.endswith(f"6000 is not aligned to {size}")


def test_a_table_outside_host_memory_is_found_and_not_followed(mixed: PageTable) -> None:
    place = damage(mixed, SMALL_PAGE, 2, lambda entry: entry & 0xFFF | OUTSIDE)
    assert findings(mixed) == [place + "its table at 0x10000000000 is outside host memory of 0x4000000 bytes"]


def test_a_table_at_address_0_is_found(mixed: PageTable) -> None:
    place = damage(mixed, SMALL_PAGE, 3, lambda entry: entry & 0xFFF)
    assert findings(mixed) == [place + "its table at 0x0 is outside host memory of 0x4000000 bytes"]


def test_a_table_that_two_entries_share_is_found_at_the_second(mixed: PageTable) -> None:
    first = entry_location(mixed, 0, 4)
    shared = mixed.memory.words[first >> 3]
    place = damage(mixed, 1 << 39, 4, lambda _: shared)
    assert findings(mixed) == [f"{place}its table at {shared & ~0xFFF:#x} is already that of the entry at {first:#x}"]


def test_a_table_that_contains_itself_is_found_and_not_followed(mixed: PageTable) -> None:
    place = damage(mixed, 1 << 39, 4, lambda _: mixed.root | mixed.format.table_flags)
    assert findings(mixed) == [f"{place}its table at {mixed.root:#x} is already the root"]


def test_a_table_that_begins_with_the_largest_entry_is_told_as_it_is(mixed: PageTable) -> None:
    place = damage(mixed, 0, 1, lambda _: (1 << 64) - 1)
    assert all(finding.startswith(place) for finding in findings(mixed))


def test_an_empty_table_is_found(mixed: PageTable) -> None:
    empty = mixed.memory.allocate()
    place = damage(mixed, 5 * GIB, 3, lambda _: empty | mixed.format.table_flags)
    assert findings(mixed) == [f"{place}its table at {empty:#x} is empty"]


def test_pages_beyond_the_given_limit_are_found(mixed: PageTable) -> None:
    assert audit(mixed, host_limit=3 * GIB) == []
    place = damage(mixed, HUGE_PAGE, 3, lambda entry: entry)
    assert findings(mixed, host_limit=3 * GIB - 1) == [place + "its page ends at 0xc0000000, beyond the limit of 0xbfffffff"]


def test_every_wrong_entry_is_named(mixed: PageTable) -> None:
    places = [
        damage(mixed, LARGE_PAGE, 2, lambda entry: entry | 0x4000),
        damage(mixed, HUGE_PAGE, 3, lambda entry: entry | 0x4000),
    ]
    found = findings(mixed)
    assert [finding.startswith(place) for finding, place in zip(found, places, strict=True)] == [True, True]


@pytest.mark.parametrize(
    ("gpa", "level", "set_bits", "clear_bits", "problem"),
    [
        (SMALL_PAGE, 1, 0, 1, "a writable page must be readable"),
        (SMALL_PAGE, 1, 0, 3, "this CPU has no execute-only pages"),
        (SMALL_PAGE, 1, 0x10, 0x20, "memory type 2 is reserved"),
        (LARGE_PAGE, 2, 0x38, 0, "memory type 7 is reserved"),
        (SMALL_PAGE, 2, 0x20, 0, "reserved bits 0x20 are set"),
        (SMALL_PAGE, 3, 0x40, 0, "reserved bits 0x40 are set"),
        (SMALL_PAGE, 4, 0x80, 0, "reserved bits 0x80 are set"),
        (SMALL_PAGE, 2, 0, 2, "it permits less than everything, for every page below it"),
        (LARGE_PAGE, 2, 0x1000, 0, "its page at 0x401000 is not aligned to 2 MiB"),
    ],
)
def test_ept_misconfigurations_are_named(
    memory: HostMemory, gpa: int, level: int, set_bits: int, clear_bits: int, problem: str
) -> None:
    table = PageTable(memory, EptFormat())
    table.map(Gpa(SMALL_PAGE), Hpa(0x7000))
    table.map(Gpa(LARGE_PAGE), Hpa(4 * MIB), size=PageSize.SIZE_2M)
    place = damage(table, gpa, level, lambda entry: entry & ~clear_bits | set_bits)
    assert findings(table) == [place + problem]


def test_an_execute_only_page_is_well_formed_on_a_cpu_that_has_it(memory: HostMemory) -> None:
    table = PageTable(memory, EptFormat(execute_only=True))
    table.map(Gpa(0), Hpa(0), Permissions.EXECUTE)
    assert audit(table) == []


@pytest.mark.parametrize(
    ("gpa", "level", "set_bits", "clear_bits", "problem"),
    [
        (SMALL_PAGE, 1, 0, 4, "without U/S, every nested access faults"),
        (SMALL_PAGE, 4, 0x180, 0, "reserved bits 0x180 are set"),
        (SMALL_PAGE, 3, 1 << 63, 0, "it permits less than everything, for every page below it"),
        (LARGE_PAGE, 2, 0x2000, 0, "its page at 0x402000 is not aligned to 2 MiB"),
    ],
)
def test_npt_misconfigurations_are_named(
    memory: HostMemory, gpa: int, level: int, set_bits: int, clear_bits: int, problem: str
) -> None:
    table = PageTable(memory, NptFormat())
    table.map(Gpa(SMALL_PAGE), Hpa(0x7000))
    table.map(Gpa(LARGE_PAGE), Hpa(4 * MIB), size=PageSize.SIZE_2M)
    place = damage(table, gpa, level, lambda entry: entry & ~clear_bits | set_bits)
    assert findings(table) == [place + problem]


def test_the_page_attribute_bit_of_a_large_npt_page_is_no_part_of_its_address(memory: HostMemory) -> None:
    table = PageTable(memory, NptFormat())
    table.map(Gpa(LARGE_PAGE), Hpa(4 * MIB), size=PageSize.SIZE_2M)
    damage(table, LARGE_PAGE, 2, lambda entry: entry | 0x1000)
    assert audit(table) == []
    assert table.translate(LARGE_PAGE) == 4 * MIB


INTENDED = [
    MappedRange(Gpa(0), Hpa(0), MIB, PageSize.SIZE_4K),
    MappedRange(Gpa(2 * MIB), Hpa(64 * MIB), 8 * MIB, PageSize.SIZE_2M, Permissions.RX),
]


@pytest.fixture
def intended(table: PageTable) -> PageTable:
    for each in INTENDED:
        table.map_range(each.gpa, each.hpa, each.length, each.permissions, each.memory_type)
    return table


def test_a_table_that_says_what_was_intended_has_no_differences(intended: PageTable) -> None:
    assert compare(intended.ranges(), INTENDED) == []
    assert compare(intended.ranges(), reversed(INTENDED)) == []


def test_a_page_that_lies_elsewhere_is_named_alone(intended: PageTable) -> None:
    intended.remap(Gpa(0x8000), Hpa(0x9000))
    (difference,) = compare(intended.ranges(), INTENDED)
    assert (difference.gpa, difference.length) == (0x8000, 0x1000)
    assert str(difference) == (
        "intended 0x0000000000008000-0x0000000000008fff -> 0x0000000000008000  1 x 4 KiB  RWX WB, "
        "found 0x0000000000008000-0x0000000000008fff -> 0x0000000000009000  1 x 4 KiB  RWX WB"
    )


def test_wrong_permissions_types_and_page_sizes_are_differences(intended: PageTable) -> None:
    intended.protect(Gpa(0x1000), Permissions.READ)
    intended.remap(Gpa(0x3000), Hpa(0x3000), memory_type=MemoryType.UC)
    intended.protect(Gpa(4 * MIB), Permissions.RX)
    found = [(each.gpa, each.length) for each in compare(intended.ranges(), INTENDED)]
    assert found == [(0x1000, 0x1000), (0x3000, 0x1000), (4 * MIB, 2 * MIB)]


def test_missing_and_surplus_pages_are_differences(intended: PageTable) -> None:
    intended.unmap(Gpa(2 * MIB), PageSize.SIZE_2M)
    intended.map(Gpa(GIB), Hpa(0x1000))
    assert [str(each) for each in compare(intended.ranges(), INTENDED)] == [
        "not mapped: 0x0000000000200000-0x00000000003fffff -> 0x0000000004000000  1 x 2 MiB  R-X WB",
        "mapped, though not intended: 0x0000000040000000-0x0000000040000fff -> 0x0000000000001000  1 x 4 KiB  RWX WB",
    ]
