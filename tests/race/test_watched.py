"""Runs of trace programs know nothing of each other, although they share a machine."""

from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.machine.schedule import ANYTHING, CountedScheduler, Decision
from kev.pager.kernel import KernelVmPager
from kev.race.hypothesis import programs
from kev.race.outcome import Outcome, SteppedOutcome
from kev.race.schedule import Schedule
from kev.race.strategy.base import Redundant
from kev.race.strategy.replay import ReplayScheduler
from kev.race.strategy.seeded import RandomScheduler
from kev.race.trace.machine import trace_machine
from kev.race.trace.oracles import ORACLES
from kev.race.trace.program import Program
from kev.race.trace.subject import TraceSubject
from kev.race.trace.vcpu import bodies
from tests.race.mutants import MUTANTS


class _GivesUp:
    """Random steps, until somebody else's run is found to show the same."""

    def __init__(self, seed: int, steps: int) -> None:
        self._random: Final = RandomScheduler(Random(seed))
        self._left = steps

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Decision:
        self._left -= 1
        if self._left < 0:
            raise Redundant
        return self._random.next(runnable)


def _alone(program: Program, schedule: Schedule) -> Outcome:
    """A run on a machine that nobody used before."""
    with trace_machine(program.pages, KernelVmPager) as machine:
        machine.listen([oracle(machine) for oracle in ORACLES])
        machine.run(bodies(program, machine), ReplayScheduler(schedule))
        return SteppedOutcome(machine.failure, tuple(machine.steps))


@given(programs(), st.integers(0, 1 << 32), st.integers(0, 30))
def test_a_run_is_the_same_behind_others_and_on_a_machine_of_its_own(program: Program, seed: int, steps: int) -> None:
    subject = TraceSubject(program)
    first = subject.run(RandomScheduler(Random(seed)))
    with suppress(Redundant):
        subject.run(_GivesUp(seed + 1, steps))
    again = subject.run(RandomScheduler(Random(seed)))
    assert (again.history, again.failure) == (first.history, first.failure)
    alone = _alone(program, first.schedule)
    assert (alone.history, alone.failure) == (first.history, first.failure)


def test_a_broken_pager_spoils_no_run_of_the_healthy_one() -> None:
    for mutant in MUTANTS:
        healthy = TraceSubject(mutant.program)
        before = healthy.run(CountedScheduler(1))
        mutant.subject.run(CountedScheduler(1))
        after = healthy.run(CountedScheduler(1))
        assert (after.history, after.failure) == (before.history, None)


class _Breaks(RandomScheduler):
    """Has a bug."""

    def step(self, runnable: Sequence[int], last: int) -> int:
        if len(runnable) == 1:
            raise ZeroDivisionError("a choice of one")
        return super().step(runnable, last)


@pytest.mark.parametrize("seed", range(20))
def test_what_a_scheduler_raises_is_no_failure_of_a_vcpu_and_spoils_no_run(seed: int) -> None:
    subject = TraceSubject(Program.parse("r0w1/r1/e0"))
    before = subject.run(CountedScheduler(1)).history
    with pytest.raises(ZeroDivisionError, match="a choice of one"):
        subject.run(_Breaks(Random(seed)))
    assert subject.run(CountedScheduler(1)).history == before


def test_what_a_guest_stored_is_gone_in_the_next_run_and_what_the_run_was_like_is_not() -> None:
    subject = TraceSubject(Program.parse("w0e0r0r1/r2r3"))
    first = subject.run(CountedScheduler(1))
    assert first.failure is None
    history, second = first.history, subject.run(CountedScheduler(2))
    assert second.failure is None
    assert history == first.history != second.history
    assert subject.run(CountedScheduler(1)).history == history
