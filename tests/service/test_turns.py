"""Which machines compute, when more want to than there are processors."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import pytest
import trio
import trio.testing

from kev.service.workers.framing import FrameKind
from kev.service.workers.turns import Turn, Turns

_PLACES: Final = 2


class _Machine:
    """Computes whenever it may. A stubborn one keeps its turn."""

    def __init__(self, turn: Turn, watch: Callable[[], None], *, stubborn: bool = False) -> None:
        self._turn: Final = turn
        self._watch: Final = watch
        self._stubborn: Final = stubborn
        self.computes = True
        self.turns = 1
        turn.tell_by(self._told)

    def _told(self, kind: FrameKind) -> None:
        if kind is FrameKind.TURN:
            self.computes = True
            self.turns += 1
        elif not self._stubborn:
            self.computes = False
            self._turn.end()
            self._turn.want()
        self._watch()


@asynccontextmanager
async def _kept(turns: Turns) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.keep)
        yield
        nursery.cancel_scope.cancel()


async def _machines(turns: Turns, count: int, watch: Callable[[], None]) -> list[_Machine]:
    return [_Machine(await turns.take(), watch) for _ in range(count)]


async def test_no_more_machines_compute_than_there_are_processors(autojump_clock: trio.testing.MockClock) -> None:
    turns, machines, most = Turns(_PLACES), list[_Machine](), 0

    def watch() -> None:
        nonlocal most
        most = max(most, sum(machine.computes for machine in machines))

    async with _kept(turns):
        for _ in range(7):
            machines.append(_Machine(await turns.take(), watch))
        await trio.sleep(2)
    assert most == _PLACES


async def test_all_machines_get_the_same_part_of_the_time(autojump_clock: trio.testing.MockClock) -> None:
    turns = Turns(_PLACES)
    async with _kept(turns):
        machines = await _machines(turns, 7, lambda: None)
        await trio.sleep(5)
    fewest, *_, most = sorted(machine.turns for machine in machines)
    assert fewest > 10
    assert most <= fewest + 2


async def test_machines_that_are_made_go_before_those_that_compute(autojump_clock: trio.testing.MockClock) -> None:
    turns = Turns(_PLACES)
    async with _kept(turns):
        machines = await _machines(turns, 20, lambda: None)
        before = [machine.turns for machine in machines]
        await turns.take()
    assert sum(machine.turns for machine in machines) - sum(before) <= _PLACES


async def test_nobody_is_asked_for_a_turn_that_nobody_else_wants(autojump_clock: trio.testing.MockClock) -> None:
    turns = Turns(_PLACES)
    async with _kept(turns):
        machines = await _machines(turns, _PLACES, lambda: None)
        await trio.sleep(10)
    assert [machine.turns for machine in machines] == [1] * _PLACES


async def test_a_machine_that_keeps_its_turn_keeps_nobody_from_computing(autojump_clock: trio.testing.MockClock) -> None:
    turns = Turns(1)
    async with _kept(turns):
        _Machine(await turns.take(), lambda: None, stubborn=True)
        other = _Machine(await turns.take(), lambda: None)
    assert other.computes


async def test_a_request_that_is_given_up_leaves_its_place_to_others(autojump_clock: trio.testing.MockClock) -> None:
    turns = Turns(1)
    async with _kept(turns):
        holder = await turns.take()
        with trio.move_on_after(0.001):
            await turns.take()
        holder.end()
        with trio.fail_after(1):
            await turns.take()


@pytest.mark.parametrize("seconds", [0.01, 100], ids=["at once", "from far away"])
async def test_machines_compute_however_many_are_made(seconds: float, autojump_clock: trio.testing.MockClock) -> None:
    turns = Turns(_PLACES)

    async def make() -> None:
        while True:
            turn = await turns.take()
            await trio.sleep(seconds)
            turn.end()

    async with _kept(turns), trio.open_nursery() as nursery:
        machines = await _machines(turns, 4, lambda: None)
        for _ in range(16):
            nursery.start_soon(make)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert min(machine.turns for machine in machines) > 10
