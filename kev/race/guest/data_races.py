"""Looks for accesses that nothing orders, in runs of a guest, whatever comes of them."""

import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import attrs

from kev.machine.schedule import Scheduler
from kev.postmortem.places import Places
from kev.race.guest.ordering import Ordering
from kev.race.guest.profile import shared_accesses
from kev.race.guest.recording import Accessed, Recording
from kev.race.guest.start import guest_machine
from kev.race.guest.subject import GuestSubject
from kev.race.guest.telling import Telling
from kev.race.stories.conflict import Conflict
from kev.race.strategy.free import UnpreemptedScheduler
from kev.race.strategy.replay import RoughScheduler
from kev.race.strategy.seeded import SeededRandom
from kev.work.stopping import Stopped, check

_LONGEST: Final = 3_000_000
"""Steps of a run of which every access is looked at."""
_CLAIM: Final = "nothing orders them"


@attrs.define(slots=True)
class DataRace:
    """Accesses of two lines to a variable; of two instructions, where lines are not known."""

    conflict: Conflict
    """Those that were found first."""
    pairs: int = 1
    """How many pairs of these lines' instructions are not ordered."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**self.conflict.as_dict(), "pairs": self.pairs}


@attrs.define(slots=True)
class DataRaces:
    """What was found in some runs."""

    runs: int = 0
    failed: int = 0
    """How many of the runs ended wrong."""
    is_whole: bool = True
    """All accesses of the runs were looked at."""
    races: list[DataRace] = attrs.field(factory=list)
    """In the order in which they were found."""
    stopped: int | None = None
    """The signal that came before all runs were looked at."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        races = [race.as_dict() for race in self.races]
        stopped = None if self.stopped is None else signal.Signals(self.stopped).name
        return {"runs": self.runs, "failed": self.failed, "whole": self.is_whole, "stopped": stopped, "races": races}


def schedules(subject: GuestSubject, runs: int, seed: int) -> Iterator[Scheduler]:
    """One in which nobody is interrupted, and then random ones."""
    strategy = SeededRandom(seed)
    strategy.prepare(subject)
    yield UnpreemptedScheduler()
    for run in range(runs - 1):
        yield strategy.scheduler(run)


def find_data_races(
    subject: GuestSubject,
    schedulers: Iterable[Scheduler],
    *,
    locked_only: bool = False,
    progress: Callable[[DataRaces], object] = lambda _: None,
) -> DataRaces:
    """The data races of a run by each of `schedulers`, until a signal comes. RaceError if runs are too long to look at.

    Stopped if it comes before the first of them. `progress` is called after every run.

    `locked_only`: no variables synchronize but those that locked instructions access.
    """
    known = None if locked_only else shared_accesses(subject.start, subject.limit).synchronizing
    search = _Search(subject, known)
    try:
        for scheduler in schedulers:
            check()
            search.look_at(scheduler)
            progress(search.found)
    except Stopped as stopped:
        if not search.found.runs:
            raise
        search.found.stopped = stopped.signal
    return search.found


class _Search:
    """What is found in the runs of `subject`, and what is told already."""

    def __init__(self, subject: GuestSubject, known: frozenset[int] | None) -> None:
        """`known` are bytes that synchronize; None if those do that locked instructions access, and no others."""
        self._subject: Final = subject
        self._known: Final = known
        self.found: Final = DataRaces()
        self._pairs: Final[set[tuple[int, int]]] = set()
        self._races: Final[dict[tuple[str, frozenset[str]], DataRace]] = {}

    def look_at(self, scheduler: Scheduler) -> None:
        """Adds what a run by `scheduler` shows."""
        subject = self._subject
        with guest_machine(subject.start, min(subject.limit, _LONGEST), apart=True) as machine:
            recording = Recording(machine)
            machine.run(scheduler, fair=not isinstance(scheduler, RoughScheduler))
            seen = recording.synchronizing
            synchronizing = seen.locked if self._known is None else self._known | seen.bytes
            ordering = Ordering(recording.events, synchronizing, subject.vcpus)
            telling = Telling(Places(machine.vm.pager.image), subject.spec.image)
            for pair in ordering.unordered():
                self._add(pair, telling)
            self.found.runs += 1
            self.found.failed += subject.judge(machine) is not None
            self.found.is_whole = self.found.is_whole and recording.is_whole

    def _add(self, pair: tuple[Accessed, Accessed], telling: Telling) -> None:
        """Unless these two instructions are known."""
        first, second = sorted(access.instruction for access in pair)
        if (first, second) in self._pairs:
            return
        self._pairs.add((first, second))
        conflict = telling.conflict(pair, _CLAIM)
        key = (conflict.variable, frozenset(map(telling.line, pair)))
        if key in self._races:
            self._races[key].pairs += 1
        else:
            self._races[key] = race = DataRace(conflict)
            self.found.races.append(race)
