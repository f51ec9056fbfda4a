"""Every kind of wrong entry, planted anywhere in the table of a whole machine, is found where it is; in a good one, none."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final, NamedTuple

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kev.addressing import GIB, MIB, PAGE_SIZE
from kev.page_tables.audit import Finding, Kind, audit
from kev.page_tables.identity import SHIFT, WholeMachine
from kev.page_tables.memory_map import Region
from kev.page_tables.table import PageTable
from tests.page_tables.entries import entry_location

END: Final = 5 * GIB
RAM_AMONG_DEVICES: Final = range(0xC4000000, 0xC4300000)
FEW: Final = settings(max_examples=20)
"""An audit of 5 GiB takes tens of milliseconds."""
ADDRESS: Final = 0x000F_FFFF_FFFF_F000
TYPE: Final = 7 << 3
CACHEABLE: Final = (1 << 3, 4 << 3, 5 << 3, 6 << 3)
RESERVED_TYPES: Final = (2 << 3, 3 << 3, 7 << 3)


class Machine(NamedTuple):
    """A plan, and its table."""

    plan: WholeMachine
    table: PageTable

    @contextmanager
    def planted(self, gpa: int, level: int, change: Callable[[int], int]) -> Iterator[list[Finding]]:
        """What the audit says while the entry for `gpa` is another one."""
        words, index = self.table.memory.words, entry_location(self.table, gpa, level) >> 3
        before = words[index]
        words[index] = change(before)
        try:
            yield audit(self.table, self.plan)
        finally:
            words[index] = before


@cache
def machine(shift: int) -> Machine:
    regions = (Region(0, 0xA0000), Region(MIB, 3 * GIB), Region(RAM_AMONG_DEVICES.start, RAM_AMONG_DEVICES.stop, "ACPI NVS"))
    plan = WholeMachine(END, shift, regions).checked()
    return Machine(plan, plan.build())


MACHINES: Final = st.sampled_from([0, SHIFT]).map(machine)
SMALL_PAGES: Final = (st.integers(0, 511) | st.integers(0xC0000, 0xFFFFF)).map(lambda number: number * PAGE_SIZE)
LARGE_PAGES: Final = (st.integers(1, 1503) | st.integers(2048, 2559)).map(lambda number: number * 2 * MIB)
VIDEO_PAGES: Final = st.integers(0xA0, 0xFF).map(lambda number: number * PAGE_SIZE)
DEVICE_PAGES: Final = (
    st.integers(0xC0000, 0xFFFFF).map(lambda number: number * PAGE_SIZE).filter(lambda gpa: gpa not in RAM_AMONG_DEVICES)
)
RAM_PAGES: Final = (
    st.tuples(st.integers(0, 0x9F).map(lambda number: number * PAGE_SIZE), st.just(1))
    | st.tuples(st.integers(0x100, 0x1FF).map(lambda number: number * PAGE_SIZE), st.just(1))
    | st.tuples(LARGE_PAGES, st.just(2))
)
PAGES: Final = st.tuples(SMALL_PAGES, st.just(1)) | st.tuples(LARGE_PAGES, st.just(2))
"""With the level of their entries."""


def kinds_at(found: list[Finding], gpa: int) -> set[Kind]:
    return {finding.kind for finding in found if finding.gpa <= gpa < finding.end}


def assert_nothing_else(found: list[Finding], gpa: int, level: int) -> None:
    """But for the twin of an overlap, all findings are about this one entry."""
    size = 1 << 3 + 9 * level
    for finding in found:
        assert finding.kind is Kind.OVERLAP or (gpa <= finding.gpa and finding.end <= gpa + size), finding


def test_a_good_table_has_no_findings() -> None:
    assert [audit(machine(shift).table, machine(shift).plan) for shift in (0, SHIFT)] == [[], []]


@FEW
@given(MACHINES, PAGES, st.data())
def test_an_overlap_is_found(machine: Machine, page: tuple[int, int], data: st.DataObject) -> None:
    gpa, level = page
    twin = data.draw((SMALL_PAGES if level == 1 else LARGE_PAGES).filter(lambda other: other != gpa))
    hpa = machine.table.translate(twin)
    assert hpa is not None
    with machine.planted(gpa, level, lambda entry: entry & ~ADDRESS | hpa) as found:
        assert Kind.OVERLAP in {finding.kind for finding in found}
        assert Kind.PLACE in kinds_at(found, gpa)
        assert_nothing_else(found, gpa, level)


@FEW
@given(MACHINES, VIDEO_PAGES | DEVICE_PAGES, st.sampled_from(CACHEABLE))
def test_a_device_that_is_cacheable_is_found(machine: Machine, gpa: int, memory_type: int) -> None:
    with machine.planted(gpa, 1, lambda entry: entry & ~TYPE | memory_type) as found:
        assert [(finding.kind, finding.gpa, finding.length) for finding in found] == [(Kind.DEVICE, gpa, PAGE_SIZE)]


@FEW
@given(MACHINES, RAM_PAGES, st.sampled_from([0, *CACHEABLE[:-1]]))
def test_ram_of_another_memory_type_is_found(machine: Machine, page: tuple[int, int], memory_type: int) -> None:
    gpa, level = page
    with machine.planted(gpa, level, lambda entry: entry & ~TYPE | memory_type) as found:
        assert kinds_at(found, gpa) == {Kind.MEMORY_TYPE}
        assert_nothing_else(found, gpa, level)


@FEW
@given(MACHINES, PAGES, st.sampled_from([(7, 2), (7, 4), (7, 6), *((TYPE, reserved) for reserved in RESERVED_TYPES)]))
def test_a_misconfiguration_is_found(machine: Machine, page: tuple[int, int], bits: tuple[int, int]) -> None:
    gpa, level = page
    cleared, written = bits
    with machine.planted(gpa, level, lambda entry: entry & ~cleared | written) as found:
        assert kinds_at(found, gpa) == {Kind.ENTRY}
        assert_nothing_else(found, gpa, level)


@FEW
@given(MACHINES, LARGE_PAGES, st.integers(1, 511))
def test_an_unaligned_large_page_is_found(machine: Machine, gpa: int, low: int) -> None:
    with machine.planted(gpa, 2, lambda entry: entry | low * PAGE_SIZE) as found:
        (finding,) = found
        assert (finding.kind, finding.gpa, finding.length) == (Kind.ENTRY, gpa, 2 * MIB)
        assert finding.problem.endswith("is not aligned to 2 MiB")


@FEW
@given(MACHINES, PAGES)
def test_a_hole_is_found(machine: Machine, page: tuple[int, int]) -> None:
    gpa, level = page
    with machine.planted(gpa, level, lambda _: 0) as found:
        assert [(finding.kind, finding.gpa, finding.length) for finding in found] == [(Kind.HOLE, gpa, 1 << 3 + 9 * level)]


@FEW
@given(MACHINES, st.integers(64, 511), st.integers(0, 511))
def test_a_page_too_many_is_found(machine: Machine, directory: int, place: int) -> None:
    """1 GiB, behind the end of the machine, where nothing else leads."""
    gpa = directory * GIB
    with machine.planted(gpa, 3, lambda _: (64 + place) * GIB | 0xB7) as found:
        assert [(finding.kind, finding.gpa, finding.length) for finding in found] == [(Kind.SURPLUS, gpa, GIB)]


@FEW
@given(MACHINES, PAGES, st.integers(8 * 512, 1 << 20))
def test_a_page_that_leads_elsewhere_is_found(machine: Machine, page: tuple[int, int], place: int) -> None:
    gpa, level = page
    with machine.planted(gpa, level, lambda entry: entry & ~ADDRESS | place * 2 * MIB) as found:
        assert [(finding.kind, finding.gpa) for finding in found] == [(Kind.PLACE, gpa)]


@FEW
@given(MACHINES, PAGES, st.sampled_from([1, 3, 5]))
def test_a_page_that_permits_less_is_found(machine: Machine, page: tuple[int, int], permissions: int) -> None:
    gpa, level = page
    with machine.planted(gpa, level, lambda entry: entry & ~7 | permissions) as found:
        assert [(finding.kind, finding.gpa) for finding in found] == [(Kind.PERMISSIONS, gpa)]


@FEW
@given(MACHINES, st.integers(0xC4400000 // (2 * MIB), 2047).map(lambda number: number * 2 * MIB))
def test_a_page_of_another_size_is_found(machine: Machine, gpa: int) -> None:
    with machine.planted(gpa, 2, lambda _: gpa | 0x87) as found:
        assert [(finding.kind, finding.gpa, finding.length) for finding in found] == [(Kind.PAGE_SIZE, gpa, 2 * MIB)]


@FEW
@given(MACHINES, SMALL_PAGES, st.integers(2, 4), st.sampled_from(["outside", "root", "shared", "reserved", "read only", "absent"]))
def test_a_pointer_that_leads_to_no_table_of_its_own_is_found(machine: Machine, gpa: int, level: int, damage: str) -> None:
    other = {4: machine.table.root, 3: entry_location(machine.table, 4 * GIB, 2), 2: entry_location(machine.table, 0xFEE00000, 1)}
    changes: dict[str, Callable[[int], int]] = {
        "outside": lambda entry: entry & ~ADDRESS | 1 << 45,
        "root": lambda entry: entry & ~ADDRESS | machine.table.root,
        "shared": lambda entry: entry & ~ADDRESS | other[level] & ADDRESS,
        "reserved": lambda entry: entry | 0x20,
        "read only": lambda entry: entry & ~6,
        "absent": lambda _: 0,
    }
    words = machine.table.memory.words
    before = words[entry_location(machine.table, gpa, level) >> 3]
    assume(changes[damage](before) != before)
    with machine.planted(gpa, level, changes[damage]) as found:
        kinds = {finding.kind for finding in found}
        assert kinds & ({Kind.HOLE} if damage == "absent" else {Kind.ENTRY}), found
