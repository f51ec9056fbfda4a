"""Makes a failure small: fewer switches first, then fewer vCPUs, then fewer pages, until nothing more can be left out."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Generic, TypeAlias, TypeVar

import attrs

from kev.race.outcome import Failure
from kev.race.schedule import Schedule, Stretch
from kev.race.strategy.base import Redundant, Strategy
from kev.race.strategy.exhaustive import Exhaustive
from kev.race.strategy.replay import RoughScheduler
from kev.race.strategy.seeded import SeededRandom
from kev.race.subject import Subject
from kev.work.stopping import check

_PREEMPTIONS: Final = 2
_SEARCH: Final = 300
"""Runs that are spent on looking for a simpler schedule of the same failure, each time."""
_LONG_SEARCH: Final = 100
"""The same where runs are long."""

S = TypeVar("S", bound=Subject)


@attrs.frozen(slots=True)
class Shrunk(Generic[S]):
    """A subject that fails, and how."""

    subject: S
    schedule: Schedule
    failure: Failure

    @property
    def cost(self) -> tuple[int, int]:
        return self.schedule.switches, self.schedule.steps


Better: TypeAlias = Callable[[Shrunk[Any]], None]
"""Hears of each case that is smaller than those before."""


def shrink(subject: S, schedule: Schedule, failure: Failure, better: Better | None = None) -> Shrunk[S]:
    """The smallest case of this failure that leaving things out leads to: it has to be of the same kind.

    Locally minimal: the failure is gone whatever single segment of the schedule, action, vCPU or page is left out of the result.
    """
    note = better or _nobody_hears
    best = _simplest(Shrunk(subject, schedule, failure), note)
    smaller: Shrunk[S] | None = best
    while smaller is not None:
        best = smaller
        smaller = next(_smaller(best, note), None)
    return _compact(best)


def _nobody_hears(_case: Shrunk[Any]) -> None:
    """Whoever waits for the end learns it then."""


def _smaller(best: Shrunk[S], better: Better) -> Iterator[Shrunk[S]]:
    for subject in best.subject.smaller():
        found = _follow(subject, best.schedule, best.failure) or _search(subject, best.failure)
        if found is not None:
            better(found)
            yield _simplest(found, better)


def _compact(best: Shrunk[S]) -> Shrunk[S]:
    """The same without vCPUs that do nothing and pages that nobody touches."""
    subject, schedule = best.subject.compact(best.schedule)
    return _follow(subject, schedule, best.failure) or best


def _simplest(case: Shrunk[S], better: Better) -> Shrunk[S]:
    """The same failure with as few switches as can be found."""
    searched = _search(case.subject, case.failure) if case.subject.longest_turn == 1 else None
    candidates = [_fewer_switches(case, better)] + ([_fewer_switches(searched, _nobody_hears)] if searched is not None else [])
    return min(candidates, key=lambda candidate: candidate.cost)


def _fewer_switches(case: Shrunk[S], note: Better) -> Shrunk[S]:
    while True:
        simpler = (_follow(case.subject, schedule, case.failure) for schedule in _simpler_schedules(case.schedule))
        better = next((found for found in simpler if found is not None and found.cost < case.cost), None)
        if better is None:
            return case
        case = better
        note(case)


def _simpler_schedules(schedule: Schedule) -> Iterator[Schedule]:
    """Schedules with fewer segments, those with the fewest first."""
    segments = schedule.segments
    size = len(segments) // 2
    while size > 1:
        for start in range(0, len(segments), size):
            yield from _without(segments, start, start + size)
        size //= 2
    yield from _with_a_segment_less(segments)
    yield from _with_half_a_segment_less(segments)


def _without(segments: Sequence[Stretch], start: int, end: int) -> Iterator[Schedule]:
    """Without the segments from `start` up to `end`; or with as many steps of each vCPU there, but one after the other."""
    yield Schedule.of((*segments[:start], *segments[end:]))
    steps: Counter[int] = Counter()
    for vcpu, count in segments[start:end]:
        steps[vcpu] += count
    yield Schedule.of((*segments[:start], *steps.items(), *segments[end:]))


def _with_a_segment_less(segments: Sequence[Stretch]) -> Iterator[Schedule]:
    """With one dropped, or with two of the same vCPU joined."""
    for index in range(len(segments)):
        yield Schedule.of((*segments[:index], *segments[index + 1 :]))
    for index, (vcpu, steps) in enumerate(segments):
        later = next((other for other in range(index + 1, len(segments)) if segments[other].vcpu == vcpu), None)
        if later is not None:
            joined = (vcpu, steps + segments[later].steps)
            between = segments[index + 1 : later]
            yield Schedule.of((*segments[:index], joined, *between, *segments[later + 1 :]))
            yield Schedule.of((*segments[:index], *between, joined, *segments[later + 1 :]))


def _with_half_a_segment_less(segments: Sequence[Stretch]) -> Iterator[Schedule]:
    """A vCPU that spins may as well do so for less long."""
    for index, (vcpu, steps) in enumerate(segments):
        yield Schedule.of((*segments[:index], (vcpu, steps // 2), *segments[index + 1 :]))


def _follow(subject: S, schedule: Schedule, failure: Failure) -> Shrunk[S] | None:
    """The same failure, if `subject` has it under about this schedule."""
    check()
    outcome = subject.replay(RoughScheduler(schedule))
    if outcome.failure is None or not outcome.failure.is_like(failure):
        return None
    return Shrunk(subject, outcome.schedule, outcome.failure)


def _search(subject: S, failure: Failure) -> Shrunk[S] | None:
    """The same failure, if it is found soon: where every step can be chosen, under the schedule with the fewest preemptions."""
    strategy: Strategy = Exhaustive(_PREEMPTIONS)
    runs = _SEARCH
    if subject.longest_turn > 1:
        strategy, runs = SeededRandom(), _LONG_SEARCH
        strategy.prepare(subject)
    for run in range(runs):
        check()
        scheduler = strategy.scheduler(run)
        if scheduler is None:
            break
        try:
            outcome = subject.run(scheduler)
        except Redundant:
            continue
        if outcome.failure is not None and outcome.failure.is_like(failure):
            return Shrunk(subject, outcome.schedule, outcome.failure)
    return None
