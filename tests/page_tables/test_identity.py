from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import GIB, MIB, PAGE_SIZE, TIB, Gpa, Hpa
from kev.host_memory import HostMemory
from kev.page_tables.audit import Kind, audit, compare
from kev.page_tables.ept import EptFormat
from kev.page_tables.identity import QUICK, SHIFT, IdentityMapError, WholeMachine, map_ranges
from kev.page_tables.mapping import Mapping, MemoryType, PageSize, Permissions
from kev.page_tables.memory_map import Region
from kev.page_tables.npt import NptFormat
from kev.page_tables.table import PageTable
from tests.fs.errors import refused

LOCAL_APIC = 0xFEE00000
IO_APIC = 0xFEC00000
RAM_ABOVE_3_GIB = Region(3 * GIB, 3 * GIB + 0x123456)
ACPI = Region(3 * GIB + 0x200000, 3 * GIB + 0x300000, "ACPI data")


def machine(memory: int = 32 * GIB, shift: int = 0) -> WholeMachine:
    return WholeMachine(memory, shift, (RAM_ABOVE_3_GIB, ACPI)).checked()


def page(table: PageTable, gpa: int) -> Mapping:
    mapping = table.walk(gpa)
    assert mapping is not None
    return mapping


@pytest.mark.parametrize("shift", [0, SHIFT])
def test_32_gib_fit_into_4_mib_of_tables(shift: int) -> None:
    table = machine(shift=shift).build()
    assert table.tables * PAGE_SIZE == table.memory.allocated <= 4 * MIB


def test_a_tib_is_mapped_from_end_to_end() -> None:
    table = machine(TIB).build()
    assert sum(mapped.length for mapped in table.ranges()) == TIB
    assert table.tables == 1540


@pytest.mark.parametrize("shift", [0, SHIFT])
def test_what_was_mapped_is_what_was_intended(shift: int) -> None:
    plan = machine(shift=shift)
    assert audit(plan.build(), plan) == []


def test_both_formats_can_say_it() -> None:
    table = PageTable(HostMemory(64 * MIB), NptFormat())
    map_ranges(table, machine().ranges())
    assert compare(table.ranges(), machine().ranges()) == []


def test_the_dump_shows_the_rules() -> None:
    assert machine().build().dump() == [
        "0x0000000000000000-0x000000000009ffff -> 0x0000000000000000  160 x 4 KiB  RWX WB",
        "0x00000000000a0000-0x00000000000fffff -> 0x00000000000a0000  96 x 4 KiB  RWX UC",
        "0x0000000000100000-0x00000000001fffff -> 0x0000000000100000  256 x 4 KiB  RWX WB",
        "0x0000000000200000-0x00000000bfffffff -> 0x0000000000200000  1535 x 2 MiB  RWX WB",
        "0x00000000c0000000-0x00000000c0122fff -> 0x00000000c0000000  291 x 4 KiB  RWX WB",
        "0x00000000c0123000-0x00000000c01fffff -> 0x00000000c0123000  221 x 4 KiB  RWX UC",
        "0x00000000c0200000-0x00000000c02fffff -> 0x00000000c0200000  256 x 4 KiB  RWX WB",
        "0x00000000c0300000-0x00000000ffffffff -> 0x00000000c0300000  261376 x 4 KiB  RWX UC",
        "0x0000000100000000-0x00000007ffffffff -> 0x0000000100000000  14336 x 2 MiB  RWX WB",
    ]


def test_without_a_memory_map_the_gibibyte_below_4_gib_is_devices() -> None:
    assert WholeMachine(GIB).devices() == [range(0xA0000, MIB), range(3 * GIB, 4 * GIB)]
    table = WholeMachine(GIB).build()
    assert page(table, 3 * GIB).memory_type == page(table, 4 * GIB - PAGE_SIZE).memory_type == MemoryType.UC


def test_a_shifted_guest_lies_64_mib_higher_but_for_the_first_mib_the_devices_and_the_firmwares_tables() -> None:
    table = machine(shift=SHIFT).build()
    moved = [MIB, 2 * MIB, 3 * GIB - SHIFT - PAGE_SIZE, 4 * GIB, 32 * GIB - PAGE_SIZE]
    assert [table.translate(gpa) for gpa in moved] == [gpa + SHIFT for gpa in moved]
    kept = [0, 0x9F000, 0xA0000, 0xFF000, 3 * GIB + 0x123000, ACPI.start, IO_APIC, LOCAL_APIC, 4 * GIB - PAGE_SIZE]
    assert [table.translate(gpa) for gpa in kept] == kept


def test_ram_that_a_shift_would_move_onto_devices_is_left_out() -> None:
    table = machine(shift=SHIFT).build()
    assert [table.translate(gpa) for gpa in (3 * GIB - SHIFT, 3 * GIB - PAGE_SIZE, 3 * GIB)] == [None] * 3


def test_ram_that_a_shift_moves_to_ram_among_the_devices_is_mapped() -> None:
    plan = WholeMachine(4 * GIB, SHIFT, (Region(0, 3 * GIB + 5 * SHIFT),)).checked()
    table = plan.build()
    assert table.translate(3 * GIB - PAGE_SIZE) == 3 * GIB + SHIFT - PAGE_SIZE
    assert table.translate(3 * GIB + 4 * SHIFT - PAGE_SIZE) == 3 * GIB + 5 * SHIFT - PAGE_SIZE
    assert table.translate(3 * GIB + 4 * SHIFT) is None
    assert audit(table, plan) == []


def test_the_apics_and_the_adapter_area_are_uncacheable_pages_of_4_kib() -> None:
    table = machine(shift=SHIFT).build()
    for gpa in (0xA0000, 0xFF000, IO_APIC, LOCAL_APIC):
        assert page(table, gpa) == Mapping(Gpa(gpa), Hpa(gpa), PageSize.SIZE_4K, Permissions.RWX, MemoryType.UC)


def test_the_known_ept_entries() -> None:
    entries = {leaf.gpa: leaf.entry for leaf in machine(2 * MIB).build().leaves(0, MIB)}
    assert entries[0x1000] == 0x1037
    assert entries[0xA0000] == 0xA0007


def test_a_small_machine_has_its_memory_and_the_device_gibibyte() -> None:
    table = machine(16 * MIB).build()
    assert page(table, 16 * MIB - 1).size == PageSize.SIZE_2M
    assert table.walk(16 * MIB) is None
    assert table.walk(4 * GIB) is None
    assert page(table, LOCAL_APIC).memory_type == MemoryType.UC


def test_the_quick_map_has_4_kib_pages_for_4_gib_and_moves_the_devices_too() -> None:
    table = WholeMachine(4 * GIB, SHIFT, style=QUICK).checked().build()
    assert isinstance(table.format, EptFormat)
    assert table.tables == 1 + 1 + 4 + 2048
    assert table.dump() == [
        "0x0000000000000000-0x000000000009ffff -> 0x0000000000000000  160 x 4 KiB  RWX WB",
        "0x00000000000a0000-0x00000000000fffff -> 0x00000000000a0000  96 x 4 KiB  RWX UC",
        "0x0000000000100000-0x00000000ffffffff -> 0x0000000004100000  1048320 x 4 KiB  RWX WB",
    ]


def test_the_audit_says_what_is_quick_and_dirty_about_it() -> None:
    plan = WholeMachine(4 * GIB, SHIFT, style=QUICK)
    (finding,) = audit(plan.build(), plan)
    assert (finding.kind, finding.gpa, finding.end) == (Kind.DEVICE, 3 * GIB - SHIFT, 4 * GIB - SHIFT)


@pytest.mark.parametrize("memory", [0, MIB, 2 * MIB + PAGE_SIZE, -2 * MIB, 16 * TIB + 2 * MIB])
def test_an_end_that_large_pages_cannot_reach_is_refused_by_name(memory: int) -> None:
    with refused(
        IdentityMapError,
        f"identity map: the machine's end {memory:#x} is not a multiple of 0x200000 from there to 0x100000000000, "
        "which is the most in the mixed style",
    ):
        WholeMachine(memory).checked()


@pytest.mark.parametrize("shift", [MIB, -2 * MIB, 32 * TIB])
def test_a_shift_that_large_pages_cannot_have_is_refused_by_name(shift: int) -> None:
    with refused(IdentityMapError, f"identity map: the shift {shift:#x} is not a multiple of 0x200000 from 0 to 0x100000000000"):
        WholeMachine(4 * GIB, shift).checked()


def test_a_style_that_there_is_not_is_refused_by_name() -> None:
    with refused(IdentityMapError, "identity map: there is no style 'slow': there are mixed, quick"):
        WholeMachine(4 * GIB, style="slow").checked()


REGIONS = st.lists(st.integers(2 * GIB, 5 * GIB), unique=True, max_size=8).map(
    lambda edges: tuple(Region(low, high) for low, high in list(pairwise(sorted(edges)))[::2])
)


@given(
    memory=st.integers(1, 8 * 512).map(lambda units: units * 2 * MIB),
    regions=REGIONS,
    shift=(st.integers(0, 100) | st.integers(0, 2500)).map(lambda units: units * 2 * MIB),
)
def test_any_memory_map_is_mapped_in_order_and_no_host_memory_twice(memory: int, regions: tuple[Region, ...], shift: int) -> None:
    plan = WholeMachine(memory, shift, regions).checked()
    ranges = plan.ranges()
    for before, after in pairwise(ranges):
        assert before.end <= after.gpa
    for before, after in pairwise(sorted(ranges, key=lambda mapped: mapped.hpa)):
        assert before.hpa + before.length <= after.hpa
    if not shift:
        assert sum(each.length for each in ranges) == min(memory, 3 * GIB) + GIB + max(0, memory - 4 * GIB)
    for each in ranges:
        moved = each.memory_type == MemoryType.WB and each.gpa >= MIB
        assert each.hpa == each.gpa + (shift if moved else 0)
        in_device_gibibyte = 3 * GIB <= each.gpa < 4 * GIB
        small = in_device_gibibyte or each.gpa < 2 * MIB
        assert each.page_size == (PageSize.SIZE_4K if small else PageSize.SIZE_2M)
        if in_device_gibibyte and each.memory_type == MemoryType.WB:
            assert any(region.start <= each.gpa < region.end for region in regions)
        if each.memory_type == MemoryType.WB:
            assert not any(device.start < each.hpa + each.length and each.hpa < device.stop for device in plan.devices())
