from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import GIB, MIB, PAGE_SIZE, Gpa, Hpa
from kev.host_memory import HostMemory
from kev.page_tables.audit import audit, differences
from kev.page_tables.ept import EptFormat
from kev.page_tables.format import EntryFormat
from kev.page_tables.identity import SHIFT, IdentityMapError, identity_ranges, map_identity
from kev.page_tables.mapping import Mapping, MemoryType, PageSize, Permissions
from kev.page_tables.table import PageTable

LOCAL_APIC = 0xFEE00000
IO_APIC = 0xFEC00000
RAM_ABOVE_3_GIB = (3 * GIB, 3 * GIB + 0x123456)


def whole_machine(entry_format: EntryFormat, shift: int = 0, end: int = 32 * GIB) -> PageTable:
    table = PageTable(HostMemory(64 * MIB), entry_format)
    map_identity(table, identity_ranges(end, [RAM_ABOVE_3_GIB], shift))
    return table


def page(table: PageTable, gpa: int) -> Mapping:
    mapping = table.walk(gpa)
    assert mapping is not None
    return mapping


def test_32_gib_fit_into_4_mib_of_tables(entry_format: EntryFormat) -> None:
    table = whole_machine(entry_format)
    assert sum(mapped.length for mapped in table.ranges()) == 32 * GIB
    assert table.tables * PAGE_SIZE == table.memory.allocated <= 4 * MIB


def test_what_was_mapped_is_what_was_intended(entry_format: EntryFormat) -> None:
    table = whole_machine(entry_format, SHIFT)
    assert audit(table) == []
    assert differences(table, identity_ranges(32 * GIB, [RAM_ABOVE_3_GIB], SHIFT)) == []


def test_the_dump_shows_the_rules(entry_format: EntryFormat) -> None:
    assert whole_machine(entry_format).dump() == [
        "0x0000000000000000-0x000000000009ffff -> 0x0000000000000000  160 x 4 KiB  RWX WB",
        "0x00000000000a0000-0x00000000000fffff -> 0x00000000000a0000  96 x 4 KiB  RWX UC",
        "0x0000000000100000-0x00000000001fffff -> 0x0000000000100000  256 x 4 KiB  RWX WB",
        "0x0000000000200000-0x00000000bfffffff -> 0x0000000000200000  1535 x 2 MiB  RWX WB",
        "0x00000000c0000000-0x00000000c0122fff -> 0x00000000c0000000  291 x 4 KiB  RWX WB",
        "0x00000000c0123000-0x00000000ffffffff -> 0x00000000c0123000  261853 x 4 KiB  RWX UC",
        "0x0000000100000000-0x00000007ffffffff -> 0x0000000100000000  14336 x 2 MiB  RWX WB",
    ]


def test_a_shifted_guest_lies_64_mib_higher_but_for_the_first_mib_and_the_devices(entry_format: EntryFormat) -> None:
    table = whole_machine(entry_format, SHIFT)
    moved = [MIB, 2 * MIB, 3 * GIB - PAGE_SIZE, 3 * GIB, 4 * GIB, 32 * GIB - PAGE_SIZE]
    assert [table.translate(gpa) for gpa in moved] == [gpa + 64 * MIB for gpa in moved]
    kept = [0, 0x9F000, 0xA0000, 0xFF000, 3 * GIB + 0x123000, IO_APIC, LOCAL_APIC, 4 * GIB - PAGE_SIZE]
    assert [table.translate(gpa) for gpa in kept] == kept


def test_the_apics_and_the_adapter_area_are_uncacheable_pages_of_4_kib(entry_format: EntryFormat) -> None:
    table = whole_machine(entry_format, SHIFT)
    for gpa in (0xA0000, 0xFF000, IO_APIC, LOCAL_APIC):
        assert page(table, gpa) == Mapping(Gpa(gpa), Hpa(gpa), PageSize.SIZE_4K, Permissions.RWX, MemoryType.UC)


def test_the_known_ept_entries() -> None:
    entries = {leaf.gpa: leaf.entry for leaf in whole_machine(EptFormat(), end=2 * MIB).leaves(0, MIB)}
    assert entries[0x1000] == 0x1037
    assert entries[0xA0000] == 0xA0007


def test_a_page_that_is_only_partly_ram_belongs_to_the_devices(entry_format: EntryFormat) -> None:
    table = whole_machine(entry_format)
    assert page(table, 3 * GIB + 0x122000).memory_type == MemoryType.WB
    assert page(table, 3 * GIB + 0x123000).memory_type == MemoryType.UC


def test_one_wrong_entry_is_named(entry_format: EntryFormat) -> None:
    table = whole_machine(entry_format)
    table.remap(Gpa(LOCAL_APIC), Hpa(LOCAL_APIC), memory_type=MemoryType.WB)
    (difference,) = differences(table, identity_ranges(32 * GIB, [RAM_ABOVE_3_GIB]))
    assert str(difference) == (
        "intended 0x00000000fee00000-0x00000000fee00fff -> 0x00000000fee00000  1 x 4 KiB  RWX UC, "
        "found 0x00000000fee00000-0x00000000fee00fff -> 0x00000000fee00000  1 x 4 KiB  RWX WB"
    )


def test_a_small_machine_has_its_memory_and_the_device_gibibyte(entry_format: EntryFormat) -> None:
    table = whole_machine(entry_format, end=16 * MIB)
    assert page(table, 16 * MIB - 1).size == PageSize.SIZE_2M
    assert table.walk(16 * MIB) is None
    assert table.walk(4 * GIB) is None
    assert page(table, LOCAL_APIC).memory_type == MemoryType.UC


@pytest.mark.parametrize("end", [0, MIB, 2 * MIB + PAGE_SIZE, -2 * MIB])
def test_an_end_that_large_pages_cannot_reach_is_refused_by_name(end: int) -> None:
    with pytest.raises(IdentityMapError, match=f"the machine's end {end:#x} is not a multiple of 0x200000"):
        identity_ranges(end)


def test_a_shift_that_large_pages_cannot_have_is_refused_by_name() -> None:
    with pytest.raises(IdentityMapError, match="the shift 0x100000 is not a multiple of 0x200000"):
        identity_ranges(4 * GIB, shift=MIB)


@given(
    end=st.integers(1, 8 * 512).map(lambda units: units * 2 * MIB),
    ram=st.lists(st.tuples(st.integers(2 * GIB, 5 * GIB), st.integers(2 * GIB, 5 * GIB)), max_size=5),
    shift=st.sampled_from([0, SHIFT]),
)
def test_any_memory_map_covers_the_machine_once_and_in_order(end: int, ram: list[tuple[int, int]], shift: int) -> None:
    ranges = identity_ranges(end, ram, shift)
    for before, after in pairwise(ranges):
        assert before.end <= after.gpa
    covered = sum(each.length for each in ranges)
    assert covered == min(end, 3 * GIB) + GIB + max(0, end - 4 * GIB)
    for each in ranges:
        moved = each.memory_type == MemoryType.WB and each.gpa >= MIB
        assert each.hpa == each.gpa + (shift if moved else 0)
        in_device_gibibyte = 3 * GIB <= each.gpa < 4 * GIB
        small = in_device_gibibyte or each.gpa < 2 * MIB
        assert each.page_size == (PageSize.SIZE_4K if small else PageSize.SIZE_2M)
        if in_device_gibibyte and each.memory_type == MemoryType.WB:
            assert any(start <= each.gpa < stop for start, stop in ram)
