import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import GIB, KIB, MIB, PAGE_SIZE, Gpa, Hpa
from kev.host_memory import HostMemory, HostMemoryError
from kev.page_tables.audit import audit
from kev.page_tables.ept import EptFormat
from kev.page_tables.errors import AddressOutOfRange, AlreadyMapped, NotExpressible, NotPresent, UnalignedAddress
from kev.page_tables.format import EntryFormat
from kev.page_tables.mapping import Mapping, MemoryType, PageSize, Permissions
from kev.page_tables.npt import NptFormat
from kev.page_tables.table import PageTable
from tests.page_tables.entries import entry_location

A_PAGE = Gpa(0x1000)
LARGE = Gpa(2 * MIB)
HUGE = Gpa(GIB)


def mapped(gpa: int, hpa: int, permissions: Permissions = Permissions.RWX, size: PageSize = PageSize.SIZE_4K) -> Mapping:
    return Mapping(Gpa(gpa), Hpa(hpa), size, permissions, MemoryType.WB)


def test_an_empty_table_maps_nothing_and_is_one_page(table: PageTable) -> None:
    assert table.walk(0) is None
    assert table.translate(0) is None
    assert list(table) == []
    assert table.dump() == []
    assert table.tables == 1


def test_a_page_is_found_from_every_byte_of_it_and_from_no_other(table: PageTable) -> None:
    table.map(A_PAGE, Hpa(0x7000))
    assert table.walk(0x1000) == table.walk(0x1FFF) == mapped(0x1000, 0x7000)
    assert table.translate(0x1ABC) == 0x7ABC
    assert table.walk(0xFFF) is None
    assert table.walk(0x2000) is None


def test_the_quick_way_maps_what_the_plain_way_maps(memory: HostMemory, table: PageTable) -> None:
    plain = PageTable(memory, table.format)
    for gpa in (0, 0x1000, 0x1FF000, 2 * MIB, GIB, (1 << 48) - PAGE_SIZE):
        table.map_page(gpa, gpa & 0xFFFF000, Permissions.RX)
        plain.map(Gpa(gpa), Hpa(gpa & 0xFFFF000), Permissions.RX)
    assert list(table) == list(plain)
    assert table.tables == plain.tables


@pytest.mark.parametrize("shift", [12, 21, 30, 39], ids=["level 1", "level 2", "level 3", "level 4"])
def test_mapping_one_page_loses_no_other_at_any_level(table: PageTable, shift: int) -> None:
    expected = {index << shift: 0x10000 + (index << 12) for index in range(512)}
    for gpa, hpa in expected.items():
        table.map(Gpa(gpa), Hpa(hpa))
    assert {mapping.gpa: mapping.hpa for mapping in table} == expected
    assert all(table.translate(gpa) == hpa for gpa, hpa in expected.items())
    for gpa in list(expected)[::2]:
        table.unmap(Gpa(gpa))
        del expected[gpa]
    assert {mapping.gpa: mapping.hpa for mapping in table} == expected


@pytest.mark.parametrize("size", list(PageSize))
def test_a_page_of_every_size_is_one_entry_of_its_level(table: PageTable, size: PageSize) -> None:
    table.map(HUGE, Hpa(3 * GIB), Permissions.RX, size)
    assert table.walk(GIB + size - 1) == mapped(GIB, 3 * GIB, Permissions.RX, size)
    assert table.translate(GIB + size - 1) == 3 * GIB + size - 1
    assert table.walk(GIB + size) is None
    mapping = table.walk(GIB)
    assert mapping is not None
    assert mapping.level == {PageSize.SIZE_4K: 1, PageSize.SIZE_2M: 2, PageSize.SIZE_1G: 3}[size]
    assert table.tables == 5 - mapping.level


@pytest.mark.parametrize(
    ("gpa", "hpa", "size", "message"),
    [
        (0x1001, 0x1000, PageSize.SIZE_4K, "guest-physical address 0x1001 is not a multiple of 0x1000"),
        (0x1000, 0x1008, PageSize.SIZE_4K, "host-physical address 0x1008 is not a multiple of 0x1000"),
        (0x1000, 0, PageSize.SIZE_2M, "guest-physical address 0x1000 is not a multiple of 0x200000"),
        (0, 0x100000, PageSize.SIZE_2M, "host-physical address 0x100000 is not a multiple of 0x200000"),
        (0x200000, 0, PageSize.SIZE_1G, "guest-physical address 0x200000 is not a multiple of 0x40000000"),
    ],
)
def test_an_unaligned_address_is_refused_by_name(table: PageTable, gpa: int, hpa: int, size: PageSize, message: str) -> None:
    with pytest.raises(UnalignedAddress, match=message):
        table.map(Gpa(gpa), Hpa(hpa), size=size)
    with pytest.raises(UnalignedAddress, match=message):
        table.remap(Gpa(gpa), Hpa(hpa), size=size)
    assert list(table) == []


def test_unaligned_lookups_of_a_page_to_change_are_refused(table: PageTable) -> None:
    table.map(A_PAGE, Hpa(0))
    with pytest.raises(UnalignedAddress, match="guest-physical address 0x1004"):
        table.unmap(Gpa(0x1004))
    with pytest.raises(UnalignedAddress, match="guest-physical address 0x1004"):
        table.protect(Gpa(0x1004), Permissions.READ)
    with pytest.raises(UnalignedAddress, match="length 0x123"):
        table.map_range(Gpa(0), Hpa(0), 0x123)


@pytest.mark.parametrize(
    ("gpa", "hpa", "name"),
    [(1 << 48, 0, "guest-physical"), (-0x1000, 0, "guest-physical"), (0, 1 << 52, "host-physical"), (0, -0x1000, "host-physical")],
)
def test_an_address_wider_than_the_tables_is_refused_by_name(table: PageTable, gpa: int, hpa: int, name: str) -> None:
    with pytest.raises(AddressOutOfRange, match=rf"{name} address .* do not lie in \[0, "):
        table.map(Gpa(gpa), Hpa(hpa))
    assert table.tables == 1


def test_the_last_page_below_the_limit_is_mapped_and_none_beyond(table: PageTable) -> None:
    last = Gpa((1 << 48) - PAGE_SIZE)
    table.map(last, Hpa((1 << 52) - PAGE_SIZE))
    assert table.translate((1 << 48) - 1) == (1 << 52) - 1
    assert table.walk(1 << 48) is None
    with pytest.raises(AddressOutOfRange, match="0xfffffffff000 and the 0x2000 bytes from there"):
        table.map_range(last, Hpa(0), 2 * PAGE_SIZE)
    with pytest.raises(AddressOutOfRange, match="0x1000000000000"):
        table.map_page(1 << 48, 0)
    with pytest.raises(NotPresent):
        table.unmap(Gpa(1 << 48))


def test_mapping_twice_is_refused_by_name_and_keeps_the_first(table: PageTable) -> None:
    table.map(A_PAGE, Hpa(0x7000), Permissions.READ)
    message = "0x1000 is already mapped: 0x0000000000001000 -> 0x0000000000007000  4 KiB  R-- WB"
    with pytest.raises(AlreadyMapped, match=message):
        table.map(A_PAGE, Hpa(0x8000))
    with pytest.raises(AlreadyMapped, match=message):
        table.map_page(A_PAGE, 0x8000)
    assert list(table) == [mapped(0x1000, 0x7000, Permissions.READ)]


def test_a_page_inside_a_larger_one_is_already_mapped(table: PageTable) -> None:
    table.map(HUGE, Hpa(0), size=PageSize.SIZE_1G)
    with pytest.raises(AlreadyMapped, match="1 GiB"):
        table.map(Gpa(GIB + 4 * MIB), Hpa(0), size=PageSize.SIZE_2M)
    with pytest.raises(AlreadyMapped, match="1 GiB"):
        table.map_page(GIB + 0x5000, 0)
    assert list(table) == [mapped(GIB, 0, size=PageSize.SIZE_1G)]


def test_a_page_around_smaller_ones_is_already_mapped(table: PageTable) -> None:
    table.map(Gpa(2 * MIB + 0x3000), Hpa(0))
    with pytest.raises(AlreadyMapped, match="by smaller pages"):
        table.map(LARGE, Hpa(0), size=PageSize.SIZE_2M)
    with pytest.raises(AlreadyMapped, match="by smaller pages"):
        table.map(Gpa(0), Hpa(0), size=PageSize.SIZE_1G)
    assert list(table) == [mapped(2 * MIB + 0x3000, 0)]


@pytest.mark.parametrize("size", list(PageSize))
def test_what_is_not_mapped_cannot_be_unmapped_protected_or_remapped(table: PageTable, size: PageSize) -> None:
    with pytest.raises(NotPresent, match="guest-physical address 0x40000000 is not present: nothing is mapped there"):
        table.unmap(HUGE, size)
    with pytest.raises(NotPresent, match="guest-physical address 0x40000000 is not present: nothing is mapped there"):
        table.protect(HUGE, Permissions.READ, size)
    with pytest.raises(NotPresent, match="guest-physical address 0x40000000 is not present: nothing is mapped there"):
        table.remap(HUGE, Hpa(0), size=size)


def test_smaller_pages_are_not_changed_as_one_large_one(table: PageTable) -> None:
    table.map(LARGE, Hpa(0x5000))
    with pytest.raises(NotPresent, match="0x200000 is not present: smaller pages than 2 MiB are mapped there"):
        table.unmap(LARGE, PageSize.SIZE_2M)
    assert list(table) == [mapped(2 * MIB, 0x5000)]


def test_unmapping_returns_what_was_there_and_gives_back_every_emptied_table(memory: HostMemory, table: PageTable) -> None:
    before = memory.allocated
    table.map(A_PAGE, Hpa(0x7000), Permissions.RX)
    table.map(Gpa(3 * GIB), Hpa(0x8000))
    assert memory.allocated == before + 5 * PAGE_SIZE
    assert table.unmap(A_PAGE) == mapped(0x1000, 0x7000, Permissions.RX)
    assert list(table) == [mapped(3 * GIB, 0x8000)]
    table.unmap(Gpa(3 * GIB))
    assert memory.allocated == before
    assert table.tables == 1


def test_a_table_that_was_given_back_is_not_written_to_again(memory: HostMemory, table: PageTable) -> None:
    table.map_page(0x1000, 0x7000)
    table.unmap(A_PAGE)
    reused = [memory.allocate() for _ in range(3)]
    table.map_page(0x2000, 0x8000)
    assert all(bytes(memory.page(page)) == bytes(PAGE_SIZE) for page in reused)
    assert table.translate(0x1000) is None
    assert table.translate(0x2000) == 0x8000


def test_protecting_returns_what_was_there_and_keeps_place_and_memory_type(table: PageTable) -> None:
    table.map(A_PAGE, Hpa(0x7000), memory_type=MemoryType.UC)
    before = table.walk(0x1000)
    assert table.protect(A_PAGE, Permissions.READ) == before
    assert table.walk(0x1000) == Mapping(A_PAGE, Hpa(0x7000), PageSize.SIZE_4K, Permissions.READ, MemoryType.UC)


def test_protecting_keeps_what_the_cpu_noted_in_the_entry(table: PageTable) -> None:
    table.map(A_PAGE, Hpa(0x7000))
    location = entry_location(table, 0x1000, 1)
    table.memory.words[location >> 3] |= table.format.accessed_dirty
    table.protect(A_PAGE, Permissions.READ)
    assert table.memory.words[location >> 3] & table.format.accessed_dirty == table.format.accessed_dirty


def test_remapping_returns_what_was_there_and_moves_the_page(table: PageTable) -> None:
    table.map(A_PAGE, Hpa(0x7000), Permissions.READ)
    assert table.remap(A_PAGE, Hpa(0x9000), Permissions.RW) == mapped(0x1000, 0x7000, Permissions.READ)
    assert list(table) == [mapped(0x1000, 0x9000, Permissions.RW)]


def test_the_quick_way_remaps_as_the_plain_way_does(table: PageTable) -> None:
    table.map(A_PAGE, Hpa(0x7000), Permissions.READ)
    table.remap_page(A_PAGE, Hpa(0x9000), Permissions.RW)
    assert list(table) == [mapped(0x1000, 0x9000, Permissions.RW)]
    with pytest.raises(NotPresent):
        table.remap_page(Gpa(0x2000), Hpa(0x9000), Permissions.RW)
    with pytest.raises(UnalignedAddress):
        table.remap_page(A_PAGE, Hpa(0x9001), Permissions.RW)
    assert list(table) == [mapped(0x1000, 0x9000, Permissions.RW)]


def test_the_quick_way_splits_a_large_page_as_the_plain_way_does(table: PageTable) -> None:
    table.map(LARGE, Hpa(0), Permissions.RWX, PageSize.SIZE_2M)
    table.remap_page(Gpa(LARGE + PAGE_SIZE), Hpa(0x9000), Permissions.RW)
    assert table.translate(LARGE + PAGE_SIZE) == 0x9000
    assert table.translate(LARGE + 2 * PAGE_SIZE) == 2 * PAGE_SIZE


@pytest.mark.parametrize("size", [PageSize.SIZE_2M, PageSize.SIZE_1G])
def test_changing_a_part_of_a_large_page_splits_it_and_leaves_the_rest(table: PageTable, size: PageSize) -> None:
    table.map(HUGE, Hpa(4 * GIB), Permissions.RX, size, MemoryType.UC)
    first, second, third = (Gpa(GIB + index * PAGE_SIZE) for index in (0, 5, 511))
    table.protect(first, Permissions.READ)
    assert table.unmap(second) == Mapping(second, Hpa(4 * GIB + 5 * PAGE_SIZE), PageSize.SIZE_4K, Permissions.RX, MemoryType.UC)
    table.remap(third, Hpa(0x3000), Permissions.RW)
    for offset in range(0, size, 64 * KIB + PAGE_SIZE):
        mapping = table.walk(GIB + offset)
        if offset == 0:
            assert mapping is not None
            assert (mapping.hpa, mapping.permissions) == (4 * GIB, Permissions.READ)
        else:
            assert table.translate(GIB + offset) == 4 * GIB + offset
            assert mapping is not None
            assert (mapping.permissions, mapping.memory_type) == (Permissions.RX, MemoryType.UC)
    assert table.walk(second) is None
    assert table.walk(third) == mapped(third, 0x3000, Permissions.RW)
    assert sum(mapping.size for mapping in table) == size - PAGE_SIZE
    assert audit(table) == []


def test_a_refused_change_does_not_split_a_large_page(table: PageTable) -> None:
    table.map(LARGE, Hpa(0), size=PageSize.SIZE_2M)
    with pytest.raises(NotExpressible):
        table.protect(LARGE, Permissions.WRITE)
    with pytest.raises(NotExpressible):
        table.remap(LARGE, Hpa(0), Permissions(0))
    assert list(table) == [mapped(2 * MIB, 0, size=PageSize.SIZE_2M)]


def test_unmapping_all_of_a_split_page_gives_its_table_back(table: PageTable) -> None:
    table.map(LARGE, Hpa(0), size=PageSize.SIZE_2M)
    tables = table.tables
    for gpa in range(2 * MIB, 4 * MIB, PAGE_SIZE):
        table.unmap(Gpa(gpa))
    assert list(table) == []
    assert table.tables == 1 < tables


def test_translation_denies_what_the_page_does_not_permit(table: PageTable) -> None:
    table.map(A_PAGE, Hpa(0x7000), Permissions.RX)
    table.map(LARGE, Hpa(0), Permissions.READ, PageSize.SIZE_2M)
    assert table.translate(0x1000, Permissions.RX) == 0x7000
    assert table.translate(0x1000, Permissions.WRITE) is None
    assert table.translate(2 * MIB, Permissions.READ) == 0
    assert table.translate(2 * MIB, Permissions.RW) is None


def test_the_largest_pages_that_alignment_allows_are_chosen(table: PageTable) -> None:
    table.map_range(Gpa(GIB - 2 * MIB - 2 * PAGE_SIZE), Hpa(3 * GIB - 2 * MIB - 2 * PAGE_SIZE), GIB + 4 * MIB + 3 * PAGE_SIZE)
    assert [(mapping.gpa, mapping.size) for mapping in table] == [
        (GIB - 2 * MIB - 2 * PAGE_SIZE, PageSize.SIZE_4K),
        (GIB - 2 * MIB - PAGE_SIZE, PageSize.SIZE_4K),
        (GIB - 2 * MIB, PageSize.SIZE_2M),
        (GIB, PageSize.SIZE_1G),
        (2 * GIB, PageSize.SIZE_2M),
        (2 * GIB + 2 * MIB, PageSize.SIZE_4K),
    ]


def test_a_range_that_lies_askew_in_the_host_gets_the_pages_that_fit_both_sides(table: PageTable) -> None:
    table.map_range(HUGE, Hpa(2 * MIB), 4 * MIB)
    table.map_range(Gpa(2 * GIB), Hpa(0x1000), 2 * MIB)
    assert [(mapping.size, mapping.hpa) for mapping in table][:3] == [
        (PageSize.SIZE_2M, 2 * MIB),
        (PageSize.SIZE_2M, 4 * MIB),
        (PageSize.SIZE_4K, 0x1000),
    ]
    assert len(list(table)) == 2 + 512


def test_the_size_of_pages_in_a_range_can_be_limited(table: PageTable) -> None:
    table.map_range(HUGE, Hpa(GIB), 4 * MIB, largest=PageSize.SIZE_4K)
    assert {mapping.size for mapping in table} == {PageSize.SIZE_4K}
    assert len(list(table)) == 1024


def test_a_range_that_meets_a_mapped_page_is_refused_and_maps_nothing(table: PageTable) -> None:
    table.map(Gpa(5 * MIB), Hpa(0x7000))
    with pytest.raises(AlreadyMapped, match="guest-physical address 0x500000"):
        table.map_range(Gpa(0), Hpa(0), 6 * MIB)
    assert list(table) == [mapped(5 * MIB, 0x7000)]
    table.map_range(Gpa(0), Hpa(0), 5 * MIB)
    table.map_range(Gpa(5 * MIB + PAGE_SIZE), Hpa(0), MIB)


def test_an_empty_range_maps_nothing(table: PageTable) -> None:
    table.map_range(Gpa(0), Hpa(0), 0)
    assert list(table) == []
    assert table.tables == 1


@given(
    start=st.integers(0, 3 * 512 * 512),
    skew=st.integers(-(1 << 10), 1 << 19),
    pages=st.integers(1, 3 * 512 * 512),
    largest=st.sampled_from([PageSize.SIZE_2M, PageSize.SIZE_1G]),
)
def test_any_range_is_mapped_completely_and_nothing_else(start: int, skew: int, pages: int, largest: PageSize) -> None:
    gpa, length = (start + (1 << 10)) * PAGE_SIZE, pages * PAGE_SIZE
    hpa = gpa + skew // 512 * 512 * PAGE_SIZE
    table = PageTable(HostMemory(4 * MIB), NptFormat())
    table.map_range(Gpa(gpa), Hpa(hpa), length, largest=largest)
    position = gpa
    for mapping in table:
        assert (mapping.gpa, mapping.hpa) == (position, hpa + position - gpa)
        assert mapping.size <= largest
        position += mapping.size
    assert position == gpa + length


def test_the_dump_merges_equal_neighbours_and_nothing_more(table: PageTable) -> None:
    table.map_range(Gpa(0x100000), Hpa(0x4100000), MIB, largest=PageSize.SIZE_4K)
    table.map_range(LARGE, Hpa(64 * MIB), 6 * MIB)
    table.protect(Gpa(0x180000), Permissions.RX)
    table.map(Gpa(16 * MIB), Hpa(16 * MIB), memory_type=MemoryType.UC)
    table.map(Gpa(16 * MIB + 0x1000), Hpa(32 * MIB))
    assert table.dump() == [
        "0x0000000000100000-0x000000000017ffff -> 0x0000000004100000  128 x 4 KiB  RWX WB",
        "0x0000000000180000-0x0000000000180fff -> 0x0000000004180000  1 x 4 KiB  R-X WB",
        "0x0000000000181000-0x00000000001fffff -> 0x0000000004181000  127 x 4 KiB  RWX WB",
        "0x0000000000200000-0x00000000007fffff -> 0x0000000004000000  3 x 2 MiB  RWX WB",
        "0x0000000001000000-0x0000000001000fff -> 0x0000000001000000  1 x 4 KiB  RWX UC",
        "0x0000000001001000-0x0000000001001fff -> 0x0000000002000000  1 x 4 KiB  RWX WB",
    ]


def test_what_the_cpu_noted_in_entries_does_not_break_up_a_range(table: PageTable) -> None:
    table.map_range(Gpa(0), Hpa(0), 4 * PAGE_SIZE)
    table.memory.words[entry_location(table, 0, 1) >> 3] |= table.format.accessed_dirty
    table.memory.words[entry_location(table, 0x2000, 1) >> 3] |= table.format.accessed_dirty
    assert len(table.dump()) == 1


def test_pages_can_be_protected_while_they_are_listed(table: PageTable) -> None:
    table.map_range(Gpa(0), Hpa(0), 4 * MIB + 3 * PAGE_SIZE)
    for mapping in table:
        table.protect(mapping.gpa, Permissions.READ, mapping.size)
    assert {mapping.permissions for mapping in table} == {Permissions.READ}
    assert sum(mapping.size for mapping in table) == 4 * MIB + 3 * PAGE_SIZE


def test_the_leaves_of_a_part_are_those_that_touch_it(table: PageTable) -> None:
    table.map_range(Gpa(0), Hpa(0), 4 * PAGE_SIZE)
    table.map(LARGE, Hpa(0), size=PageSize.SIZE_2M)
    assert [leaf.gpa for leaf in table.leaves(0x1800, 0x3000)] == [0x1000, 0x2000]
    assert [leaf.gpa for leaf in table.leaves(3 * MIB, 3 * MIB + 1)] == [2 * MIB]
    assert list(table.leaves(4 * PAGE_SIZE, 2 * MIB)) == []


def test_tables_that_do_not_fit_into_host_memory_are_refused_by_name() -> None:
    table = PageTable(HostMemory(4 * PAGE_SIZE), EptFormat())
    with pytest.raises(HostMemoryError, match="host memory is full"):
        table.map_page(0, 0)
    assert table.tables * PAGE_SIZE == table.memory.allocated


@pytest.mark.parametrize("entry_format", [EptFormat(), NptFormat()], ids=["ept", "npt"])
def test_pages_that_must_not_be_written_stay_so_however_they_are_mapped(entry_format: EntryFormat) -> None:
    memory = HostMemory(1 << 20)
    table = PageTable(memory, entry_format)
    pages = [number * PAGE_SIZE for number in range(1, 5)]
    for page in pages:
        table.forbid_writes(page)
    table.map_page(pages[0], 0x10000)
    table.map_pages(pages[1], 0x20000, 2)
    table.map_protected_page(pages[3], 0x40000)
    table.map_page(0x8000, 0x80000)
    readable = [table.translate(page, Permissions.READ) for page in pages]
    assert readable == [0x10000, 0x20000, 0x21000, 0x40000]
    assert [table.translate(page, Permissions.WRITE) for page in (*pages, 0x8000)] == [None] * 4 + [0x80000]
    assert [table.permit_writes(page) for page in pages] == [False] * 4
    assert [table.allow_writes(page) for page in (*pages, 0x8000)] == [True] * 4 + [False]
    assert [table.translate(page, Permissions.WRITE) for page in pages] == [None] * 4
    assert [table.permit_writes(page) for page in pages] == [True] * 4
    assert [table.translate(page, Permissions.WRITE) for page in pages] == readable
