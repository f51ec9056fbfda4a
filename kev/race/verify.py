"""Proves race testing itself: every mutant of a catalogue is caught, and the pager that is not broken survives."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product
from random import Random
from typing import Any, Final

import attrs

from kev.race.catalogue import Catalogue
from kev.race.explore import Exploration, explore
from kev.race.shrink import Shrunk, shrink
from kev.race.strategy import make_strategy
from kev.race.token import Token
from kev.race.trace.generate import random_program
from kev.race.trace.program import Program
from kev.race.trace.subject import TraceSubject
from kev.work.base import Place
from kev.work.results import in_order
from kev.work.stopping import Stopped

MOST_SWITCHES: Final = 4
"""What a shrunk schedule of a mutant may have."""
MUTANT_RUNS: Final = 1_000
"""Within so many runs a mutant has to be caught."""
_SEEDED: Final = ("pct", "random")
_STRATEGIES: Final = (*_SEEDED, "exhaustive")
_GENERATED: Final = 200
"""Programs from the seed that the healthy pager runs besides those of the mutants."""
_SHARE: Final = 200
"""Runs that a process is given at a time."""


@attrs.frozen(slots=True)
class Catch:
    """How one strategy did against one mutant."""

    strategy: str
    runs: int
    """Until it was caught, this one included; all there were if it was not."""
    shrunk: Shrunk[TraceSubject] | None

    def as_dict(self) -> dict[str, Any]:
        if self.shrunk is None:
            return {"runs": self.runs, "caught": False}
        subject, schedule, failure = self.shrunk.subject, self.shrunk.schedule, self.shrunk.failure
        return {
            "runs": self.runs,
            "caught": True,
            "oracle": failure.oracle,
            "message": failure.message,
            "switches": schedule.switches,
            "steps": schedule.steps,
            "vcpus": subject.vcpus,
            "pages": len(subject.program.pages),
            "program": str(subject.program),
            "token": str(Token(subject.identity, schedule)),
        }


@attrs.frozen(slots=True)
class MutantReport:
    """One mutant."""

    name: str
    flaw: str
    program: str
    catches: tuple[Catch, ...]

    @property
    def caught(self) -> bool:
        """By a seeded strategy and by exhaustive search, and shown in few switches whoever caught it."""
        by = {catch.strategy for catch in self.catches if catch.shrunk is not None}
        return "exhaustive" in by and not by.isdisjoint(_SEEDED) and self.switches <= MOST_SWITCHES

    @property
    def switches(self) -> int:
        """Of the longest of the shrunk schedules."""
        return max((catch.shrunk.schedule.switches for catch in self.catches if catch.shrunk is not None), default=0)

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "flaw": self.flaw,
            "program": self.program,
            "caught": self.caught,
            "switches": self.switches,
            "by": {catch.strategy: catch.as_dict() for catch in self.catches},
        }


@attrs.define(slots=True)
class HealthyReport:
    """The pager that is not broken."""

    wanted: int
    programs: int = 0
    runs: int = 0
    schedules: int = 0
    interleavings: int = 0
    seconds: float = 0.0
    """Of computing, in all processes together."""
    failures: list[str] = attrs.field(factory=list)
    nondeterminism: list[str] = attrs.field(factory=list)
    stopped: int | None = None
    """The signal that has ended it."""

    @property
    def survived(self) -> bool:
        return not self.failures and not self.nondeterminism and self.runs >= self.wanted

    def note(self, subject: TraceSubject, exploration: Exploration) -> None:
        """One program under one strategy."""
        self.stopped = self.stopped or exploration.stopped
        self.runs += exploration.runs
        self.schedules += len(exploration.schedules)
        self.interleavings += len(exploration.interleavings)
        self.seconds += exploration.seconds
        if exploration.found is not None:
            token = Token(subject.identity, exploration.found.schedule)
            self.failures.append(f"{exploration.found.failure.message} (kev race replay {token})")
        if exploration.nondeterminism is not None:
            self.nondeterminism.append(f"{subject.program}: {exploration.nondeterminism.message}")

    def add(self, other: "HealthyReport") -> None:
        self.programs += other.programs
        self.runs += other.runs
        self.schedules += other.schedules
        self.interleavings += other.interleavings
        self.seconds += other.seconds
        self.failures += other.failures
        self.nondeterminism += other.nondeterminism
        self.stopped = self.stopped or other.stopped

    def as_dict(self) -> dict[str, Any]:
        per_second = round(self.runs / self.seconds) if self.runs else 0
        return {"survived": self.survived, **attrs.asdict(self), "runs_per_second": per_second}


def check_mutants(catalogue: Catalogue, seed: int, place: Place) -> Iterator[MutantReport]:
    """Tries every strategy on every mutant of a catalogue."""
    return in_order(_check_mutant, [(catalogue.module, mutant.name, seed) for mutant in catalogue.mutants], place)


def check_healthy(
    programs: Sequence[Program], runs: int, seed: int, place: Place, progress: Callable[[HealthyReport], None] | None = None
) -> HealthyReport:
    """Runs kev's own pager `runs` times: the given programs, and others from the seed, by PCT and at random."""
    everything = [*programs, *generated_programs(seed, _GENERATED)]
    each, more = divmod(runs, len(everything) * len(_SEEDED))
    total = HealthyReport(runs)
    batches = [
        (program, strategy, first, min(_SHARE, end - first), seed)
        for index, (program, strategy) in enumerate(product(everything, _SEEDED))
        for end in (each + (index < more),)
        for first in range(0, end, _SHARE)
    ]
    try:
        for part in in_order(_check_healthy, batches, place):
            total.add(part)
            if progress is not None:
                progress(total)
            if total.stopped is not None:
                break
    except Stopped as stopped:
        total.stopped = stopped.signal
    return total


def generated_programs(seed: int, count: int, vcpus: int = 4, pages: int = 4) -> Iterator[Program]:
    """Programs of two to `vcpus` vCPUs and of up to `pages` pages."""
    random = Random(seed)
    return islice((random_program(random, random.randint(2, vcpus), random.randint(1, pages)) for _ in iter(int, 1)), count)


def _check_mutant(task: tuple[str, str, int]) -> MutantReport:
    module, name, seed = task
    mutant = Catalogue.load(module)[name]
    catches = tuple(_catch(mutant.subject, strategy, seed) for strategy in _STRATEGIES)
    return MutantReport(name, mutant.flaw, str(mutant.program), catches)


def _catch(subject: TraceSubject, strategy: str, seed: int) -> Catch:
    exploration = explore(subject, make_strategy(strategy, seed), MUTANT_RUNS)
    if exploration.stopped is not None:
        raise Stopped(exploration.stopped)  # what was not looked for was not missed
    found = exploration.found
    shrunk = None if found is None else shrink(subject, found.schedule, found.failure)
    return Catch(strategy, exploration.runs + exploration.redundant, shrunk)


def _check_healthy(task: tuple[Program, str, int, int, int]) -> HealthyReport:
    program, strategy, first, runs, seed = task
    subject = TraceSubject(program)
    report = HealthyReport(0, programs=int(not first and strategy == _SEEDED[0]))
    report.note(subject, explore(subject, make_strategy(strategy, seed), runs, first=first))
    return report
