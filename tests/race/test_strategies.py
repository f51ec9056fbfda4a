"""Which schedules strategies try."""

from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kev.machine.schedule import Scheduler
from kev.race.errors import CannotReplay, RaceError
from kev.race.explore import Exploration, explore
from kev.race.schedule import Schedule
from kev.race.strategy import Exhaustive, Free, Pct, SeededRandom, make_strategy
from kev.race.strategy.base import Redundant, Strategy
from kev.race.strategy.pct import PctScheduler
from kev.race.strategy.replay import ReplayScheduler, RoughScheduler
from tests.examples import examples
from tests.race.subjects import subject

SMALL = ["r0/r0", "r0w0/e0", "r1/r0;1=n0", "r0/w0e0;0=i", "r0/r1;0=i;s", "r0/r1/r2", "p0+2/r1", "r0/c0"]


def everything(program: str, strategy: Strategy) -> Exploration:
    exploration = explore(subject(program), strategy, 100_000)
    assert exploration.complete
    assert exploration.found is None
    return exploration


@pytest.mark.parametrize("program", SMALL)
def test_an_exhaustive_search_misses_no_interleaving_that_chance_finds(program: str) -> None:
    complete = everything(program, Exhaustive(None))
    chance = explore(subject(program), SeededRandom(1), 500)
    assert set(chance.interleavings) <= set(complete.interleavings)


@pytest.mark.parametrize("program", SMALL)
def test_an_exhaustive_search_shows_every_interleaving_once(program: str) -> None:
    assert set(everything(program, Exhaustive(None)).interleavings.values()) == {1}


@pytest.mark.parametrize("program", ["r0/r0", "r0w0/e0", "p0+2/r1"])
def test_a_high_enough_bound_is_no_bound(program: str) -> None:
    assert set(everything(program, Exhaustive(20)).interleavings) == set(everything(program, Exhaustive(None)).interleavings)


def test_a_bound_of_no_preemptions_leaves_the_orders_of_vcpus() -> None:
    assert everything("r0/r0/r0", Exhaustive(0)).runs == 6


def test_steps_that_have_nothing_to_do_with_each_other_are_run_in_one_order() -> None:
    assert everything("r0/r1/r2", Exhaustive(None)).runs == 1


def test_schedules_of_fewer_preemptions_come_first() -> None:
    def schedules(bound: int, runs: int) -> list[Schedule]:
        strategy = Exhaustive(bound)
        schedulers = (strategy.scheduler(run) for run in range(runs))
        return [subject("r0/w0/e0").run(scheduler).schedule for scheduler in schedulers if scheduler is not None]

    assert schedules(2, 6) == schedules(0, 6)


@given(st.integers(1, 6), st.integers(1, 200), st.integers(1, 5), st.integers())
def test_pct_changes_priorities_less_often_than_its_depth(vcpus: int, steps: int, depth: int, seed: int) -> None:
    scheduler = PctScheduler(vcpus, steps, depth, Random(seed))
    runnable = range(vcpus)
    order = [scheduler.next(runnable, 1 if step else 0).vcpu for step in range(steps)]
    assert sum(before != after for before, after in pairwise(order)) <= depth - 1


def test_pct_keeps_its_priority_changes_for_where_there_is_a_choice() -> None:
    def switches(seed: int) -> int:
        scheduler = PctScheduler(2, 50, 2, Random(seed))
        for _ in range(1_000):
            scheduler.next([0], 1)
        order = [scheduler.next([0, 1], 1).vcpu for _ in range(51)]
        return sum(before != after for before, after in pairwise(order))

    assert max(map(switches, range(10))) == 1


def test_pct_prints_its_probability_bound() -> None:
    strategy = Pct(seed=7, depth=3)
    strategy.measure(2, 50, 1)
    assert strategy.bound == pytest.approx(1 / (2 * 50 * 50))
    assert strategy.describe() == (
        "PCT from seed 7, depth 3: with 2 vCPUs and 50 steps, a run shows a given bug of this depth with probability "
        "1/(2 * 50^2) = 0.0002 or more"
    )


def test_a_depth_has_a_limit_below_which_every_bound_can_be_told() -> None:
    deep = make_strategy("pct", depth=1000)
    deep.measure(2, 50, 1)
    assert deep.describe().endswith("1/(2 * 50^999) = 0 or more")
    with pytest.raises(RaceError, match=r"^depth: 1001: a bug may need 1,000 ordered events at most$"):
        make_strategy("pct", depth=1001)


class Decisions:
    """A scheduler that is asked for decisions, although it could be asked for steps."""

    def __init__(self, inner: Scheduler) -> None:
        self.next = inner.next


@pytest.mark.parametrize("name", ["random", "pct", "exhaustive"])
@pytest.mark.parametrize("program", ["r0w1/r1r0/e0e1", "w0mr1/w1r0;tso"])
def test_steps_are_chosen_as_decisions_are(name: str, program: str) -> None:
    def histories(wrap: Callable[[Scheduler], Scheduler]) -> list[int | None]:
        strategy = make_strategy(name, 3)
        strategy.measure(subject(program).actors, 40, 1)
        schedulers = (strategy.scheduler(run) for run in range(30))
        return [history(wrap(scheduler)) for scheduler in schedulers if scheduler is not None]

    def history(scheduler: Scheduler) -> int | None:
        try:
            return subject(program).run(scheduler).history
        except Redundant:
            return None

    assert histories(Decisions) == histories(lambda scheduler: scheduler)


@pytest.mark.parametrize("name", ["random", "pct"])
def test_a_seed_and_a_number_make_a_run(name: str) -> None:
    def schedules(seed: int) -> list[Schedule]:
        strategy = make_strategy(name, seed)
        strategy.measure(3, 40, 1)
        runs = [strategy.scheduler(run) for run in (3, 0, 7)]
        return [subject("r0w1/r1r0/e0e1").run(scheduler).schedule for scheduler in runs if scheduler is not None]

    assert schedules(5) == schedules(5)
    assert schedules(5) != schedules(6)


def test_the_free_strategy_has_one_schedule() -> None:
    assert everything("r0/r1", Free()).runs == 1


@settings(max_examples=examples(50))
@given(st.integers(0, 1 << 32))
def test_a_run_can_be_replayed_to_the_letter(seed: int) -> None:
    race = subject("r0w1f2/w0r1e2/p0+3e1/c0r2;0=x1;2=i")
    scheduler = SeededRandom(seed).scheduler(0)
    outcome = race.run(scheduler)
    again = race.run(ReplayScheduler(outcome.schedule))
    assert (again.history, again.schedule) == (outcome.history, outcome.schedule)


def test_a_schedule_of_something_else_is_refused() -> None:
    def replay(*segments: tuple[int, int]) -> None:
        subject("r0/r0r0").run(ReplayScheduler(Schedule.of(segments)))

    with pytest.raises(CannotReplay, match="step 7: the schedule ends here, but the run does not"):
        replay((0, 7))
    with pytest.raises(CannotReplay, match="step 7: the schedule wants vCPU 0 for 3 steps, which cannot run"):
        replay((0, 10))
    with pytest.raises(CannotReplay, match="step 8: the schedule wants vCPU 0 for 1 steps, which cannot run"):
        replay((0, 7), (1, 1), (0, 1), (1, 1))


def test_a_schedule_can_be_followed_roughly() -> None:
    outcome = subject("r0/r0").run(RoughScheduler(Schedule.of([(1, 3), (7, 5), (0, 2)])))
    assert outcome.failure is None
    assert outcome.schedule.segments[0] == (1, 3)
    assert outcome.schedule.segments[1].vcpu == 0
