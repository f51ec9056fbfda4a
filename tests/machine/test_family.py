"""Machines that were forked go on as the first one would have, and see nothing of each other."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kev.addressing import PAGE_SIZE, Gpa
from kev.guests.disk import drives_of
from kev.guests.images import open_image
from kev.machine.builder import MachineOptions
from kev.machine.family import Body, Built, Family, Rest
from kev.machine.launcher import prepare
from kev.machine.machine import Machine
from kev.machine.saved import save_registers
from kev.machine.schedule import RunScheduler, SeededScheduler
from kev.machine.step import Ended, Stopped
from kev.machine.vm import Vm
from kev.pager.pages import PageState
from kev.state import State
from tests.examples import examples
from tests.machine.seeded import GUESTS

_NOTEBOOK = Gpa(0x1F00000)
"""RAM that no guest uses: what is written there tells machines apart."""


@contextmanager
def family_of(name: str) -> Iterator[tuple[Machine, Family]]:
    with open_image(name) as (source, guest):
        assert guest is not None

        def build() -> Machine:
            options = MachineOptions(vcpus=GUESTS[name], drives=drives_of(guest))
            return prepare(source, memory=guest.memory_mib << 20, options=options, seed=1)

        first = build()
        family = Family(first.vm, lambda: Built(build().vm, lambda: None))
        try:
            yield first, family
        finally:
            family.close()
            first.close()


def run(vm: Vm, scheduler: RunScheduler, instructions: int | None = None) -> None:
    """Until so many are retired in all, or to the end."""
    if vm.ending is not None:
        return
    vm.stop_at = instructions
    while not isinstance(vm.step(scheduler), Ended | Stopped):
        pass


def known(vm: Vm) -> tuple[str, int, list[State], dict[str, State]]:
    """All that can be told of a machine, but for its memory."""
    return str(vm.ending), vm.clock.now(), [save_registers(vcpu.state) for vcpu in vm.vcpus], vm.devices.save()


def memory(vm: Vm) -> dict[int, bytes]:
    present = (Gpa(page) for run in vm.pager.pages.runs(PageState.PRESENT) for page in run)
    return {page: vm.memory.read(page, PAGE_SIZE) for page in present if vm.buses.mmio.device_at(page) is None}


class Fork:
    """A machine of a family: at rest, or on a body."""

    def __init__(self, family: Family, rest: Rest) -> None:
        self.family = family
        self.at_rest = rest
        self.body: Body | None = None
        self.scheduler = SeededScheduler(1)
        self.note = b""
        self._forgotten = family.add(self, rest)

    @property
    def vm(self) -> Vm:
        if self.body is None:
            self.body = self.family.take_body(self.at_rest)
            self.scheduler.load(self.at_rest.scheduler)
        return self.body.vm

    def rest(self) -> Rest:
        return self.at_rest if self.body is None else self.body.rest(self.scheduler)

    def pause(self) -> None:
        if self.body is not None:
            self.at_rest = self.rest()
            self.family.give_back(self.body)
            self.body = None

    def close(self) -> None:
        self.pause()
        self._forgotten.detach()
        self.family.remove(self.at_rest.contents.point)


@pytest.mark.parametrize("name", GUESTS)
@settings(max_examples=6, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), pauses=st.lists(st.floats(0, 1, exclude_max=True), max_size=3))
def test_a_fork_goes_on_as_the_first_one_would_have(name: str, where: float, pauses: list[float]) -> None:
    with family_of(name) as (first, family):
        run(first.vm, first.scheduler)
        expected, contents = known(first.vm), memory(first.vm)
        instructions = first.vm.instructions
    with family_of(name) as (first, family):
        run(first.vm, first.scheduler, max(int(instructions * where), 1))
        one, other = (Fork(family, rest) for rest in [family.point(first.scheduler)] * 2)
        # The first one goes on, and does not wait for them.
        run(first.vm, first.scheduler)
        for fork in (one, other):
            for pause in sorted(pauses):
                run(fork.vm, fork.scheduler, int(instructions * pause))
                fork.pause()
            run(fork.vm, fork.scheduler)
            assert known(fork.vm) == expected
            found = memory(fork.vm)
            assert {page: data for page, data in found.items() if data != contents[page]} == {}
            assert {page for page in contents.keys() - found.keys() if any(contents[page])} <= set(first.vm.pager.loaders)
            fork.pause()


MOVES = ("run", "run first", "fork", "fork first", "pause", "write", "write first", "close")


@settings(max_examples=examples(60), deadline=None)
@given(moves=st.lists(st.tuples(st.sampled_from(MOVES), st.floats(0, 1, exclude_max=True)), max_size=30))
def test_nobody_sees_what_another_does(moves: list[tuple[str, float]]) -> None:
    with family_of("smp") as (first, family):
        run(first.vm, first.scheduler, 1000)
        note_of_first = bytes(8)
        forks: list[Fork] = []
        for number, (move, where) in enumerate(moves):
            fork = forks[int(where * len(forks))] if forks else None
            if move == "run first":
                run(first.vm, first.scheduler, first.vm.instructions + 1 + int(where * 20_000))
            elif move == "write first":
                note_of_first = number.to_bytes(8, "little")
                first.vm.memory.write(_NOTEBOOK, note_of_first)
            elif move == "fork first":
                forks.append(Fork(family, family.point(first.scheduler)))
                forks[-1].note = note_of_first
            elif fork is None:
                continue
            elif move == "run":
                run(fork.vm, fork.scheduler, fork.vm.instructions + 1 + int(where * 20_000))
            elif move == "fork":
                forks.append(Fork(family, fork.rest()))
                forks[-1].note = fork.note
            elif move == "pause":
                fork.pause()
            elif move == "write":
                fork.note = number.to_bytes(8, "little")
                fork.vm.memory.write(_NOTEBOOK, fork.note)
            else:
                fork.close()
                forks.remove(fork)
            if fork is not None and fork in forks:
                assert fork.vm.memory.read(_NOTEBOOK, 8) == fork.note
        assert first.vm.memory.read(_NOTEBOOK, 8) == note_of_first
        ends = set()
        for fork in forks:
            assert fork.vm.memory.read(_NOTEBOOK, 8) == fork.note
            run(fork.vm, fork.scheduler)
            ends.add(str(known(fork.vm)[:3]))
            fork.pause()
        run(first.vm, first.scheduler)
        assert ends <= {str(known(first.vm)[:3])}


def test_a_fork_at_rest_holds_what_it_has_written_and_no_more() -> None:
    with family_of("smp") as (first, family):
        run(first.vm, first.scheduler, 20_000)
        forks = [Fork(family, rest) for rest in [family.point(first.scheduler)] * 100]
        for number, fork in enumerate(forks):
            assert fork.at_rest.contents.own == {}
            fork.vm.memory.write(_NOTEBOOK, number.to_bytes(8, "little"))
            fork.pause()
            assert list(fork.at_rest.contents.own) == [_NOTEBOOK]
        assert [int.from_bytes(fork.vm.memory.read(_NOTEBOOK, 8), "little") for fork in forks[::10]] == list(range(0, 100, 10))


def test_the_first_ones_memory_is_there_for_as_long_as_a_fork_needs_it() -> None:
    with family_of("smp") as (first, family):
        run(first.vm, first.scheduler, 20_000)
        closed: list[str] = []
        forks = [Fork(family, rest) for rest in [family.point(first.scheduler)] * 2]
        family.close_first(lambda: closed.append("first"))
        for fork in forks:
            assert closed == []
            fork.close()
        assert closed == ["first"]
