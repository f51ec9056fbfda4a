"""A machine that is saved, and loaded into another that was built alike, goes on as it would have."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kev.addressing import Gpa
from kev.machine.machine import Machine
from kev.machine.saved import load_vm, save_vm
from kev.pager.loaders import contents
from kev.pager.pages import PageState
from kev.state import StateError
from tests.machine.seeded import GUESTS, End, end, machine_of, pages, stop_at


def move(source: Machine, target: Machine) -> None:
    """Makes `target`, which is new, what `source` is."""
    for page, data in pages(source).items():
        if target.vm.pager.pages[page] is PageState.ABSENT:
            target.vm.pager.map_page(Gpa(page), contents(data))
    target.scheduler.load(source.scheduler.save())
    load_vm(target.vm, save_vm(source.vm))


def uninterrupted(name: str) -> tuple[End, int]:
    output = bytearray()
    with machine_of(name, output) as machine:
        return end(machine, output), machine.vm.instructions


ENDS: dict[str, tuple[End, int]] = {}


@pytest.mark.parametrize("name", [*GUESTS, "bios"])
@settings(max_examples=8, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True))
def test_it_ends_as_if_nothing_had_happened(name: str, where: float) -> None:
    if name not in ENDS:
        ENDS[name] = uninterrupted(name)
    expected, instructions = ENDS[name]
    output = bytearray()
    with machine_of(name, output) as first, machine_of(name, output) as second:
        stop_at(first, max(int(instructions * where), 1))
        move(first, second)
        found = end(second, output)
        assert found._replace(memory={}) == expected._replace(memory={})
        assert {page: data for page, data in found.memory.items() if data != expected.memory[page]} == {}
        assert end(first, output).time == expected.time


def test_what_is_no_state_of_such_a_machine_is_refused() -> None:
    output = bytearray()
    with machine_of("smp", output) as first:
        stop_at(first, 5000)
        state = save_vm(first.vm)
    for part in state:
        with machine_of("smp", output) as second, pytest.raises(StateError, match=part):
            load_vm(second.vm, {name: value for name, value in state.items() if name != part})
    with machine_of("lost-update", output) as other, pytest.raises(StateError, match="a list of 2"):
        load_vm(other.vm, state)


def test_looking_at_what_decides_the_future_changes_nothing() -> None:
    expected, instructions = uninterrupted("smp")
    output = bytearray()
    with machine_of("smp", output) as machine:
        for fraction in range(1, 10):
            stop_at(machine, instructions * fraction // 10)
            save_vm(machine.vm)
        assert end(machine, output) == expected
