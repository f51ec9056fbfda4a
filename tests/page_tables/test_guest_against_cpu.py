"""Random page tables, walked by this project and by an emulated CPU: both must reach the same address or the same fault."""

from functools import reduce
from operator import or_

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kev.exits import Access, GuestException
from kev.page_tables.guest import GuestFault, translate
from tests.examples import examples
from tests.page_tables.cpu import CODE, TARGETS, Cpu
from tests.page_tables.guest_memory import (
    LARGE,
    LONG_MODE,
    NO_EXECUTE,
    NXE,
    PAE,
    PE,
    PG,
    PRESENT,
    PSE,
    RW,
    SMAP,
    SMEP,
    USER,
    WP,
    WRITABLE,
    Registers,
)

CODE_TABLES = range(0x200000, 0x204000, 0x1000)
TABLES = range(0x204000, 0x208000, 0x1000)
ROOT = CODE_TABLES.start
IGNORED = [0, 1 << 3, 1 << 4, 1 << 5, 1 << 6, 1 << 8, 1 << 9, 1 << 11]


@pytest.fixture(scope="module", params=[False, True], ids=["its own", "native"])
def cpu(request: pytest.FixtureRequest) -> Cpu:
    return Cpu(native=request.param)


def mostly(value: int, otherwise: st.SearchStrategy[int]) -> st.SearchStrategy[int]:
    """`value` in about seven of eight cases."""
    return st.integers(0, 7).flatmap(lambda lot: otherwise if lot == 5 else st.just(value))


def flags(reserved: list[int], no_execute: int = 0) -> st.SearchStrategy[int]:
    """The flags of an entry, present and permissive more often than not, with one of the `reserved` bits now and then."""
    return st.builds(
        lambda *parts: reduce(or_, parts),
        mostly(PRESENT, st.just(0)),
        st.sampled_from([WRITABLE, WRITABLE, WRITABLE, 0]),
        st.sampled_from([USER, USER, USER, 0]),
        st.sampled_from([0, 0, 0, no_execute]),
        st.sampled_from(IGNORED),
        mostly(0, st.sampled_from(reserved)),
    )


def wide_flags(*reserved: int) -> st.SearchStrategy[int]:
    """The same for an entry of 64 bits; bit 52 is reserved in some modes."""
    return flags([1 << 52, *reserved, *reserved], NO_EXECUTE)


TARGET = st.integers(TARGETS.start >> 12, (TARGETS.stop >> 12) - 1).map(lambda page: page << 12)
CONTROL = st.tuples(st.sampled_from([0, WP]), st.sampled_from([0, PSE]), st.sampled_from([0, SMEP]), st.sampled_from([0, SMAP]))


def write(cpu: Cpu, entry_size: int, gpa: int, entry: int) -> None:
    cpu.memory.view[gpa : gpa + entry_size] = entry.to_bytes(entry_size, "little")


def clear_tables(cpu: Cpu) -> None:
    cpu.memory.view[ROOT : TABLES.stop] = bytes(TABLES.stop - ROOT)


def check(cpu: Cpu, registers: Registers, gva: int, data: st.DataObject, user: bool) -> None:
    """Makes a random access both ways, and on the CPU's twin, if it has one: both note the same in the tables."""
    access = data.draw(st.sampled_from(list(Access)), "access")
    alignment_check = data.draw(st.booleans(), "RFLAGS.AC")

    def read(gpa: int, size: int) -> int:
        return int.from_bytes(cpu.memory.view[gpa : gpa + size], "little")

    outcome: int | GuestException
    try:
        outcome = translate(read, registers, gva, access, user=user, alignment_check=alignment_check)
    except GuestFault as fault:
        outcome = fault.exception
    expected = outcome if isinstance(outcome, int) else None
    assert expected is None or expected in TARGETS
    if cpu.twin is not None:
        cpu.twin.memory.view[ROOT : TABLES.stop] = cpu.memory.view[ROOT : TABLES.stop]
    for _ in range(2):  # the second time, accesses are noted in the tables already
        assert cpu.access(registers, gva, access, user, alignment_check, expected) == outcome
        if cpu.twin is not None:
            cpu.twin.access(registers, gva, access, user, alignment_check, expected)
            assert cpu.memory.view[ROOT : TABLES.stop] == cpu.twin.memory.view[ROOT : TABLES.stop]


def map_code(cpu: Cpu, shifts: tuple[int, ...], entry_size: int, user: bool) -> None:
    """Lets the instruction be fetched, whatever the registers say."""
    permissions = RW | (USER if user else 0)
    *uppers, last = shifts
    for table, _ in zip(CODE_TABLES, uppers, strict=False):
        write(cpu, entry_size, table, table + 0x1000 | permissions)
    index = CODE >> last & (1023 if entry_size == 4 else 511)
    write(cpu, entry_size, CODE_TABLES[len(uppers)] + index * entry_size, CODE | permissions)


def indices(draw: st.DataObject, sizes: tuple[int, ...]) -> list[int]:
    """One index a level, the first not that of the code."""
    return [draw.draw(st.integers(1 if level == 0 else 0, size - 1)) for level, size in enumerate(sizes)]


@settings(max_examples=examples(150))
@given(data=st.data(), control=CONTROL, user=st.booleans(), offset=st.integers(0, 511))
def test_32_bit_walks_agree(cpu: Cpu, data: st.DataObject, control: tuple[int, int, int, int], user: bool, offset: int) -> None:
    wp, pse, smep, smap = control
    clear_tables(cpu)
    map_code(cpu, (22, 12), 4, user)
    directory, table = indices(data, (1024, 1024))
    target = data.draw(TARGET)
    upper = data.draw(st.one_of(st.just(TABLES[0]), st.just(target & ~0x3FFFFF | LARGE))) | data.draw(flags([1 << 21]))
    write(cpu, 4, ROOT + directory * 4, upper)
    write(cpu, 4, TABLES[0] + table * 4, target | data.draw(flags([LARGE])))
    gva = directory << 22 | table << 12 | offset << 3
    check(cpu, Registers(PE | PG | wp, ROOT, pse | smep | smap), gva, data, user)


@settings(max_examples=examples(150))
@given(
    data=st.data(),
    control=CONTROL,
    nxe=st.sampled_from([0, NXE]),
    user=st.booleans(),
    root=st.integers(1, 127).map(lambda line: ROOT + line * 32),
    offset=st.integers(0, 511),
)
def test_pae_walks_agree(
    cpu: Cpu, data: st.DataObject, control: tuple[int, int, int, int], nxe: int, user: bool, root: int, offset: int
) -> None:
    wp, pse, smep, smap = control
    clear_tables(cpu)
    map_code(cpu, (30, 21, 12), 8, user)
    write(cpu, 8, root, CODE_TABLES[1] | PRESENT)
    pointer, directory, table = indices(data, (4, 512, 512))
    target = data.draw(TARGET)
    write(cpu, 8, root + pointer * 8, TABLES[0] | data.draw(mostly(PRESENT, st.sampled_from([0, PRESENT | 1 << 62]))))
    upper = data.draw(st.sampled_from([TABLES[1], target & ~0x1FFFFF | LARGE]))
    write(cpu, 8, TABLES[0] + directory * 8, upper | data.draw(wide_flags(*([1 << 13, 1 << 20] if upper & LARGE else []))))
    write(cpu, 8, TABLES[1] + table * 8, target | data.draw(wide_flags(LARGE)))
    gva = pointer << 30 | directory << 21 | table << 12 | offset << 3
    check(cpu, Registers(PE | PG | wp, root, PAE | pse | smep | smap, nxe), gva, data, user)


@settings(max_examples=examples(250))
@given(
    data=st.data(),
    control=CONTROL,
    nxe=st.sampled_from([0, NXE]),
    user=st.booleans(),
    offset=st.integers(0, 511),
    disturbed=mostly(0, st.integers(48, 63).map(lambda bit: 1 << bit)),
)
def test_4_level_walks_agree(
    cpu: Cpu, data: st.DataObject, control: tuple[int, int, int, int], nxe: int, user: bool, offset: int, disturbed: int
) -> None:
    wp, pse, smep, smap = control
    clear_tables(cpu)
    map_code(cpu, (39, 30, 21, 12), 8, user)
    root, pointer, directory, table = indices(data, (512, 512, 512, 512))
    target = data.draw(TARGET)
    write(cpu, 8, ROOT + root * 8, TABLES[0] | data.draw(wide_flags(LARGE)))
    upper = data.draw(st.sampled_from([TABLES[1], LARGE]))
    write(cpu, 8, TABLES[0] + pointer * 8, upper | data.draw(wide_flags(*([1 << 13, 1 << 29] if upper & LARGE else []))))
    if upper == LARGE:
        directory, table = target >> 21, target >> 12 & 511
    middle = data.draw(st.sampled_from([TABLES[2], target & ~0x1FFFFF | LARGE]))
    write(cpu, 8, TABLES[1] + directory * 8, middle | data.draw(wide_flags(*([1 << 13, 1 << 20] if middle & LARGE else []))))
    write(cpu, 8, TABLES[2] + table * 8, target | data.draw(wide_flags(LARGE)))
    gva = root << 39 | pointer << 30 | directory << 21 | table << 12 | offset << 3
    gva |= 0xFFFF << 48 if root >= 256 else 0
    check(cpu, Registers(PE | PG | wp, ROOT, PAE | pse | smep | smap, LONG_MODE | nxe), gva ^ disturbed, data, user)


@settings(max_examples=20)
@given(data=st.data(), control=CONTROL, user=st.booleans(), target=TARGET)
def test_without_paging_both_reach_the_address_itself(
    cpu: Cpu, data: st.DataObject, control: tuple[int, int, int, int], user: bool, target: int
) -> None:
    wp, pse, smep, smap = control
    check(cpu, Registers(PE | wp, 0, pse | smep | smap), target, data, user)
