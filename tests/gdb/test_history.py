"""The history of a run: turns are repeated as they were, wherever a debugger cuts them."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.engine.base import Budget
from kev.gdb.history import History, Moment
from kev.machine.machine import Machine
from kev.machine.schedule import ANYTHING, Decision, SeededScheduler

VCPUS = (0, 1, 2)


async def nothing(_machine: Machine) -> None:
    """What happens in these tests."""


def run(history: History, instructions: int) -> list[int]:
    """Which vCPU retires each of so many instructions, of a guest whose slices are ended by nothing but their budget."""
    retired: list[int] = []
    while len(retired) < instructions:
        decision = history.next(VCPUS)
        length = min(decision.budget.instructions or 0, instructions - len(retired))
        assert length > 0
        retired += [decision.vcpu] * length
        history.note(length, over=False)
    return retired


def seeded(seed: int = 1) -> History:
    return History(SeededScheduler(seed, longest=9), kept=True)


class EveryoneInTurn:
    """A scheduler of turns of ten instructions."""

    def __init__(self) -> None:
        self._last = -1

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Decision:
        self._last = (self._last + 1) % len(runnable)
        return Decision(runnable[self._last], Budget(instructions=10))


@given(st.integers(0, 1000), st.lists(st.integers(1, 30), max_size=8))
def test_cutting_turns_changes_nobodys_turn(seed: int, pieces: list[int]) -> None:
    uncut = run(seeded(seed), sum(pieces))
    history = seeded(seed)
    assert [vcpu for piece in pieces for vcpu in run(history, piece)] == uncut


@given(st.integers(0, 1000), st.integers(1, 60), st.integers(0, 60), st.integers(0, 2))
def test_what_was_is_repeated_and_then_goes_on(seed: int, first: int, again: int, insisted: int) -> None:
    history = seeded(seed)
    retired = run(history, first)
    history.insist(insisted, Budget(instructions=3))
    retired += run(history, 20)
    history.rewind()
    assert run(history, min(again, len(retired))) == retired[:again]
    assert history.is_past == (again < len(retired))


@given(st.integers(0, 1000), st.integers(1, 60))
def test_the_moment_before_an_instruction_is_where_it_is_the_next(seed: int, instructions: int) -> None:
    history = seeded(seed)
    retired = run(history, instructions)
    moment = history.before(retired[-1])
    assert moment is not None
    history.rewind()
    history.end = moment
    repeated = 0
    while history.now < moment:
        decision = history.next(VCPUS)
        repeated += decision.budget.instructions or 0
        history.note(decision.budget.instructions or 0, over=False)
    assert repeated == instructions - 1


def test_nothing_is_before_the_first_instruction() -> None:
    history = seeded()
    assert history.before(0) is None
    assert history.now == Moment(0, 0)


def test_a_moment_is_found_by_what_a_vcpu_had_retired() -> None:
    history = History(EveryoneInTurn(), kept=True)
    run(history, 45)
    assert history.moment_of(0, 10) == Moment(3, 0)
    assert history.moment_of(1, 14) == Moment(4, 4)
    assert history.moment_of(2, 10) is None


def test_somebody_who_steps_is_cut_after_each_instruction_and_others_are_not() -> None:
    history = History(EveryoneInTurn(), kept=True)
    history.stepping = 1
    budgets = []
    for _ in range(4):
        decision = history.next(VCPUS)
        budgets.append((decision.vcpu, decision.budget.instructions))
        history.note(decision.budget.instructions or 0, over=False)
    assert budgets == [(0, 10), (1, 1), (1, 1), (1, 1)]


def test_a_turn_that_was_cut_for_another_goes_on_later() -> None:
    history = History(EveryoneInTurn(), kept=True)
    run(history, 4)
    history.insist(2, Budget(instructions=1))
    assert run(history, 8) == [2, *[0] * 6, 1]


def test_the_past_cannot_be_changed_by_insisting() -> None:
    history = History(EveryoneInTurn(), kept=True)
    run(history, 25)
    history.rewind()
    history.insist(2, Budget(instructions=1))
    assert run(history, 25) == [0] * 10 + [1] * 10 + [2] * 5


def test_what_came_from_outside_comes_again_at_its_moment() -> None:
    history = History(EveryoneInTurn(), kept=True)
    run(history, 13)
    history.happen(nothing, 0)
    history.rewind()
    assert history.due(0) is None
    assert history.next(VCPUS).budget.instructions == 10
    history.note(10, over=False)
    assert history.next(VCPUS).budget.instructions == 3
    history.note(3, over=False)
    assert history.due(0) is not None


def test_changing_the_past_makes_another_future() -> None:
    history = History(EveryoneInTurn(), kept=True)
    run(history, 35)
    history.rewind()
    run(history, 12)
    assert history.is_past
    history.happen(nothing, 0)
    assert not history.is_past
    assert run(history, 9) == [1] * 8 + [1 if history.turns[2].vcpu == 1 else history.turns[2].vcpu]


@pytest.mark.parametrize("executed", [0, 4])
def test_who_cannot_run_loses_the_rest_of_its_turn(executed: int) -> None:
    history = History(EveryoneInTurn(), kept=True)
    history.next(VCPUS)
    history.note(executed, over=False)
    assert history.next((1, 2)).vcpu in (1, 2)
