"""Engines are made by name, and say what they can do."""

import pytest

from kev.addressing import GIB, MIB, TIB, Gpa
from kev.engine.base import SINGLE_STEP, Budget
from kev.engine.factory import ENGINES, UnknownEngine, engine_named
from kev.exits import Access, Breakpoint, EptViolation, Exit, PreemptionTimer, Reply, Vmcall, Watchpoint
from kev.host_memory import HostMemoryError
from kev.page_tables.ept import EptFormat
from kev.page_tables.npt import NptFormat
from tests.machine.code import VMCALL, code
from tests.machine.cpu import CODE, PROTECTED_MODE

EVERY_ENGINE = pytest.mark.parametrize("name", ENGINES)
PROGRAM = code("90 a1 00 50 00 00 ; nop; mov eax, [0x5000]") + VMCALL


def exits(name: str, budget: Budget, breakpoints: frozenset[int] = frozenset(), watched: range = range(0)) -> list[Exit]:
    """What PROGRAM exits with, its pages aside."""
    space = engine_named(name).reserve(1024)
    engine = space.make_engine()
    found: list[Exit] = []

    def serve(exit: Exit) -> Reply | None:
        if not isinstance(exit, EptViolation):
            return None
        page = space.memory.allocate()
        if exit.gpa & ~0xFFF == CODE:
            space.memory.page(page)[: len(PROGRAM)] = PROGRAM
        space.table.map_page(Gpa(exit.gpa & ~0xFFF), page)
        return 0

    try:
        vcpu = engine.create_vcpu(0)
        engine.reset(vcpu, PROTECTED_MODE)
        engine.set_breakpoints(breakpoints)
        engine.set_watchpoints([(watched, Access.READ)] if watched else [])
        while not found or not isinstance(found[-1], Vmcall):
            found.append(engine.run(vcpu, budget, serve))
    finally:
        engine.close()
    return found


@EVERY_ENGINE
def test_an_engine_runs_a_guest_in_what_was_reserved_for_it(name: str) -> None:
    assert exits(name, Budget(seconds=60)) == [Vmcall()]


@EVERY_ENGINE
def test_an_engine_does_what_it_says_it_can(name: str) -> None:
    can = engine_named(name).capabilities
    assert can.name == name
    if can.exact_counts:
        assert exits(name, Budget(instructions=1)) == [PreemptionTimer(), PreemptionTimer(), Vmcall()]
    if can.single_step:
        assert exits(name, SINGLE_STEP) == [PreemptionTimer(), PreemptionTimer(), Vmcall()]
    if can.breakpoints:
        assert [type(exit) for exit in exits(name, Budget(seconds=60), breakpoints=frozenset({CODE + 1}))] == [Breakpoint, Vmcall]
    if can.watchpoints:
        assert [type(exit) for exit in exits(name, Budget(seconds=60), watched=range(0x5000, 0x5004))] == [Watchpoint, Vmcall]


@EVERY_ENGINE
def test_an_engine_has_room_for_the_largest_memory_it_names(name: str) -> None:
    factory = engine_named(name)
    can = factory.capabilities
    assert can.table_format in (NptFormat.name, EptFormat.name)
    assert 64 * GIB < can.largest_memory < 1 << can.physical_address_bits
    try:
        space = factory.reserve(can.largest_memory >> 10)
    except HostMemoryError:
        pytest.skip("this computer does not have so much address space")
    assert can.largest_memory < space.memory.size <= TIB


def test_a_host_is_kept_for_the_next_guest_if_that_is_wanted() -> None:
    for keeps_hosts in (False, True):
        factory = engine_named("amdv", keeps_hosts=keeps_hosts)
        first = factory.reserve(16 * MIB >> 10)
        first.make_engine().close()
        second = factory.reserve(16 * MIB >> 10)
        assert (first.memory is second.memory) == keeps_hosts
        second.make_engine().close()


def test_an_engine_that_there_is_not_is_named() -> None:
    with pytest.raises(UnknownEngine, match="no engine is named 'kqemu': there is amdv"):
        engine_named("kqemu")
