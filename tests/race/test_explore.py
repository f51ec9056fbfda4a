"""Exploring, and what is found."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings

from kev.machine.schedule import ANYTHING
from kev.pager.kernel import KernelVmPager
from kev.pager.protocols import Point
from kev.race import Program, check
from kev.race.explore import explore
from kev.race.hypothesis import programs
from kev.race.interleaving import MAX_VCPUS, VCPU_BITS, Interleaving, digest_of
from kev.race.jobs import explore_shared
from kev.race.outcome import SteppedOutcome
from kev.race.schedule import Schedule
from kev.race.shrink import shrink
from kev.race.strategy import Exhaustive, SeededRandom
from kev.race.strategy.replay import RoughScheduler
from kev.race.trace.smaller import smaller_programs
from kev.work.processes import local
from tests.examples import examples
from tests.race.mutants.filling import EvictionAgainstStore, NoFlush
from tests.race.mutants.waking import LostWakeUp
from tests.race.subjects import subject


@settings(max_examples=examples(40))
@given(programs())
def test_the_pager_keeps_all_rules_whatever_vcpus_do(program: Program) -> None:
    check(program, runs=10)


def test_the_same_seed_finds_the_same_failure() -> None:
    race = subject("r0r1/r0/r1", LostWakeUp)
    first, second = (explore(race, SeededRandom(3), 1_000) for _ in range(2))
    assert first.found == second.found
    assert first.found is not None
    assert first.interleavings == second.interleavings


def test_processes_find_what_one_process_finds() -> None:
    race = subject("w0/e0r0/r0r1", EvictionAgainstStore)
    alone = explore(race, SeededRandom(11), 3_000)
    together = explore_shared(race, SeededRandom(11), 3_000, place=local(2))
    assert alone.found is not None
    assert together.found == alone.found


def test_processes_add_up_what_they_have_seen() -> None:
    race = subject("r0/r0")
    alone = explore(race, SeededRandom(0), 2_500)
    together = explore_shared(race, SeededRandom(0), 2_500, place=local(2))
    assert (together.runs, together.schedules, together.interleavings) == (2_500, alone.schedules, alone.interleavings)
    assert together.coverage == alone.coverage


class Shares:
    """A place with one worker, which is this thread, and has a share for a tenth of a second. It notes how many runs each has."""

    size, share_seconds = 1, 0.1

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._given: list[tuple[int, Any]] = []

    @contextmanager
    def pool(self, function: Callable[[Any], Any]) -> Iterator["Shares"]:
        self._function = function
        yield self

    @property
    def has_room(self) -> bool:
        return len(self._given) < 2

    @property
    def is_busy(self) -> bool:
        return bool(self._given)

    def give(self, number: int, argument: Any) -> None:
        self.sizes.append(argument.runs)
        self._given.append((number, argument))

    def take(self) -> list[tuple[int, Any]]:
        number, argument = self._given.pop(0)
        return [(number, self._function(argument))]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time goes on by a millisecond whenever somebody looks: runs take two."""
    ticks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks) / 1_000)


@pytest.mark.usefixtures("clock")
def test_shares_grow_to_what_a_place_wants_and_no_further() -> None:
    shares = Shares()
    seen = explore_shared(subject("r0/r0"), SeededRandom(0), 1_000, shares)
    assert seen.runs == sum(shares.sizes) == 1_000
    seconds_for_a_run = seen.seconds / seen.runs
    assert 0.5 * shares.share_seconds <= max(shares.sizes) * seconds_for_a_run <= 1.1 * shares.share_seconds


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("seconds", [0.05, 1])
def test_shares_are_over_when_the_time_is(seconds: float) -> None:
    shares = Shares()
    seen = explore_shared(subject("r0/r0"), SeededRandom(0), None, shares, seconds=seconds)
    assert seen.runs == sum(shares.sizes)
    assert seconds <= seen.seconds <= seconds + shares.share_seconds / 2


def test_what_failed_once_is_tried_first() -> None:
    race = subject("r0/r0", LostWakeUp)
    known = Schedule.of([(0, 2), (1, 2), (0, 5), (1, 1)])
    exploration = explore(race, SeededRandom(0), 1_000, known=[Schedule.of([(0, 7)]), known])
    assert exploration.runs == 0
    assert exploration.found is not None
    assert exploration.found.run == -1
    assert exploration.found.schedule == known


def test_coverage_grows_towards_one() -> None:
    few, many = (explore(subject("r0/r0"), SeededRandom(0), runs).coverage for runs in (20, 2_000))
    assert few is not None
    assert many is not None
    assert 0 <= few < many <= 1
    assert explore(subject("r0/r0"), Exhaustive(1), 20).coverage is None


class Fickle(KernelVmPager):
    """Every other pager has a scheduling point more."""

    _made = itertools.count()

    async def load_page(self, gpa):  # type: ignore[no-untyped-def]
        if next(self._made) % 2:
            await self._reach(Point.LOCK, gpa)
        await super().load_page(gpa)


def test_runs_that_differ_under_the_same_schedule_are_reported_apart_from_failures() -> None:
    exploration = explore(subject("r0", Fickle), SeededRandom(0), 10)
    assert exploration.found is None
    assert exploration.nondeterminism is not None
    assert exploration.nondeterminism.run == 0
    assert exploration.nondeterminism.message == "once it ends well after 8 steps, and once it ends well after 7 steps"


def leave_out_segments(schedule: Schedule) -> Iterator[Schedule]:
    for index in range(len(schedule.segments)):
        yield Schedule.of((*schedule.segments[:index], *schedule.segments[index + 1 :]))


@pytest.mark.parametrize(
    ("program", "factory"),
    [("r0r1/w0r0/e1e0/r0r0", NoFlush), ("w0w1r1/e0r0/r0r1", EvictionAgainstStore), ("r0r1/r0/r1/w2", LostWakeUp)],
)
def test_a_shrunk_failure_is_locally_minimal(program: str, factory: type[KernelVmPager]) -> None:
    race = subject(program, factory)
    found = explore(race, SeededRandom(1), 2_000).found
    assert found is not None
    small = shrink(race, found.schedule, found.failure)
    assert small.schedule.switches <= found.schedule.switches
    for schedule in leave_out_segments(small.schedule):
        outcome = small.subject.run(RoughScheduler(schedule))
        same = outcome.failure is not None and outcome.failure.oracle == found.failure.oracle
        assert not same or outcome.schedule.switches >= small.schedule.switches
    for smaller in smaller_programs(small.subject.program):
        failure = subject(str(smaller), factory).run(RoughScheduler(small.schedule)).failure
        assert failure is None or failure.oracle != found.failure.oracle


def digest(*steps: tuple[int, int]) -> int:
    return digest_of([pages << VCPU_BITS | vcpu for vcpu, pages in steps])


@pytest.mark.parametrize("program", ["r0w1/r1/e0", "r0/r1c0/w0", "p0+2/r0/e0", "w0r1/w1r0;tso", "r17/w17/e3"])
def test_runs_are_told_apart_as_their_steps_one_by_one_tell_them_apart(program: str) -> None:
    race, runs = subject(program, KernelVmPager), SeededRandom(5)
    runs.prepare(race)
    at_once: dict[int, int] = {}
    one_by_one: dict[int, int] = {}
    for number in range(300):
        outcome = race.run(runs.scheduler(number))
        assert isinstance(outcome, SteppedOutcome)
        seen = Interleaving()
        for step in outcome.sequence:
            seen.add(step % MAX_VCPUS, step >> VCPU_BITS)
        assert at_once.setdefault(outcome.interleaving, number) == one_by_one.setdefault(seen.digest(), number)
    assert 1 < len(at_once) < 300


def test_steps_on_different_pages_commute() -> None:
    assert digest((0, 1), (1, 2), (0, 4)) == digest((1, 2), (0, 1), (0, 4))
    assert digest((0, 0b11), (1, 0b100)) == digest((1, 0b100), (0, 0b11))


def test_steps_on_a_page_in_common_do_not_commute() -> None:
    assert digest((0, 1), (1, 1)) != digest((1, 1), (0, 1))
    assert digest((0, 0b11), (1, 0b10)) != digest((1, 0b10), (0, 0b11))
    assert digest((0, 1), (1, ANYTHING)) != digest((1, ANYTHING), (0, 1))
    assert digest((0, ANYTHING), (1, 0b1000)) != digest((1, 0b1000), (0, ANYTHING))
