"""Tries schedule after schedule."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import count
from typing import Final, TypeAlias

import attrs

from kev.race.errors import CannotReplay
from kev.race.outcome import Failure, Outcome
from kev.race.schedule import Schedule
from kev.race.strategy.base import Redundant, Strategy
from kev.race.strategy.replay import ReplayScheduler, RoughScheduler
from kev.race.subject import Subject
from kev.work.stopping import Stopped, check

_REPEAT_EVERY: Final = 256
"""Of so many runs one is made twice, to see whether it is the same."""


@attrs.frozen(slots=True)
class Found:
    """A run that did something wrong."""

    run: int
    """Its number, from 0; -1 if it was tried before the others because it had failed once."""
    failure: Failure
    schedule: Schedule


@attrs.frozen(slots=True)
class Nondeterminism:
    """Two runs with the same schedule that differed: not a failure of the subject, but nothing it shows can be relied on."""

    run: int
    schedule: Schedule
    message: str


@attrs.define(slots=True)
class Finds:
    """A kind of failure."""

    first: Found
    times: int = 0
    """In how many runs it was seen."""


@attrs.define(slots=True)
class Exploration:
    """What was tried, and what was found."""

    strategy: str = ""
    """What the strategy says of itself."""
    sampled: bool = False
    """Its runs are drawn at random."""
    keep_going: bool = False
    """A failure does not end it."""
    runs: int = 0
    redundant: int = 0
    """Runs given up because others show the same; not among `runs`."""
    longest: int = 0
    """The steps of the longest run."""
    complete: bool = False
    """There is nothing left to try."""
    found: Found | None = None
    """The first."""
    kinds: "dict[tuple[str, str], Finds]" = attrs.field(factory=dict)
    """All that were found, by rule and kind."""
    stopped: int | None = None
    """The signal that has ended it."""
    nondeterminism: Nondeterminism | None = None
    seconds: float = 0.0
    schedules: set[int] = attrs.field(factory=set, repr=False)
    """Digests of the distinct schedules."""
    interleavings: Counter[int] = attrs.field(factory=Counter, repr=False)
    """How often each interleaving was seen, by its digest."""

    @property
    def over(self) -> bool:
        """There is no use in going on."""
        failed = self.found is not None and not self.keep_going
        return self.complete or failed or self.nondeterminism is not None or self.stopped is not None

    @property
    def coverage(self) -> float | None:
        """How likely the next run's interleaving has been seen already; None if runs are not drawn at random.

        I. J. Good and A. Turing's estimate, from the interleavings that were seen just once.
        """
        if not self.sampled or not self.runs:
            return None
        once = sum(1 for times in self.interleavings.values() if times == 1)
        return round(1 - once / self.runs, 4)

    def note(self, outcome: Outcome) -> None:
        self.runs += 1
        if outcome.steps > self.longest:
            self.longest = outcome.steps
        self.schedules.add(outcome.digest)
        interleaving = outcome.interleaving
        self.interleavings[interleaving] = self.interleavings.get(interleaving, 0) + 1

    def note_failure(self, found: Found) -> None:
        self.found = self.found or found
        key = found.failure.oracle, found.failure.kind
        self.kinds.setdefault(key, Finds(found)).times += 1

    def add(self, other: "Exploration") -> None:
        """Takes in what runs after these have shown."""
        for key, finds in other.kinds.items():
            self.kinds.setdefault(key, Finds(finds.first)).times += finds.times
        self.stopped = self.stopped or other.stopped
        self.strategy, self.sampled = other.strategy, other.sampled
        self.runs += other.runs
        self.redundant += other.redundant
        self.longest = max(self.longest, other.longest)
        self.complete = other.complete
        self.found = self.found or other.found
        self.nondeterminism = self.nondeterminism or other.nondeterminism
        self.schedules |= other.schedules
        self.interleavings.update(other.interleavings)


Progress: TypeAlias = Callable[[Exploration], None]


def explore(
    subject: Subject,
    strategy: Strategy,
    runs: int | None,
    *,
    first: int = 0,
    known: Iterable[Schedule] = (),
    progress: Progress | None = None,
    seconds: float | None = None,
    keep_going: bool = False,
) -> Exploration:
    """Makes `runs` runs, or as many as there are in `seconds`, from number `first` on.

    It stops at the first that does something wrong, unless `keep_going`, and when there is nothing left to try. `known` are
    schedules that showed something once: they are tried first, as far as they can still be followed. `progress` is called after
    every run. A signal that `kev.work.stopping` has noted ends it, too.
    """
    began = time.perf_counter()
    exploration = Exploration(sampled=strategy.sampled, keep_going=keep_going)
    try:
        for schedule in known:
            _try_again(subject, schedule, exploration)
        strategy.prepare(subject)
        for run in count(first):
            exploration.seconds = time.perf_counter() - began
            enough = exploration.runs == runs or (seconds is not None and exploration.seconds >= seconds)
            if exploration.over or enough:
                break
            check()
            _explore_once(subject, strategy, run, exploration)
            if progress is not None:
                exploration.seconds = time.perf_counter() - began
                progress(exploration)
    except Stopped as stopped:
        exploration.stopped = stopped.signal
    exploration.strategy = strategy.describe()
    exploration.seconds = time.perf_counter() - began
    return exploration


def _try_again(subject: Subject, schedule: Schedule, exploration: Exploration) -> None:
    outcome = subject.replay(RoughScheduler(schedule))
    if outcome.failure is not None:
        _note_failure(subject, -1, outcome, exploration)


def _explore_once(subject: Subject, strategy: Strategy, run: int, exploration: Exploration) -> None:
    scheduler = strategy.scheduler(run)
    if scheduler is None:
        exploration.complete = True
        return
    try:
        outcome = subject.run(scheduler)
    except Redundant:
        exploration.redundant += 1
        return
    strategy.learn(outcome)
    exploration.note(outcome)
    if outcome.failure is not None:
        _note_failure(subject, run, outcome, exploration)
    elif run % _REPEAT_EVERY == 0:
        exploration.nondeterminism = _repeat(subject, run, outcome)


def _note_failure(subject: Subject, run: int, outcome: Outcome, exploration: Exploration) -> None:
    assert outcome.failure is not None
    exploration.note_failure(Found(run, outcome.failure, outcome.schedule))
    exploration.nondeterminism = _repeat(subject, run, outcome)


def _repeat(subject: Subject, run: int, outcome: Outcome) -> Nondeterminism | None:
    """Makes a run again with the schedule it had, and compares."""
    try:
        again = subject.replay(ReplayScheduler(outcome.schedule))
    except CannotReplay as error:
        return Nondeterminism(run, outcome.schedule, f"it cannot be repeated: {error}")
    if again.history == outcome.history:
        return None
    return Nondeterminism(run, outcome.schedule, f"once {_result(outcome)}, and once {_result(again)}")


def _result(outcome: Outcome) -> str:
    steps = f"after {outcome.steps} steps"
    return f"it ends well {steps}" if outcome.failure is None else f"it fails {steps} ({outcome.failure.message})"
