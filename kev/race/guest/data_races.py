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
class DataRaces:
    """What was found in some runs."""

    runs: int = 0
    failed: int = 0
    """How many of the runs ended wrong."""
    is_whole: bool = True
    """All accesses of the runs were looked at."""
    conflicts: list[Conflict] = attrs.field(factory=list)
    """Two accesses each, of the run in which they were found first; one for each pair of instructions."""
    stopped: int | None = None
    """The signal that came before all runs were looked at."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        races = [conflict.as_dict() for conflict in self.conflicts]
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
    known = frozenset() if locked_only else shared_accesses(subject.start, subject.limit).synchronizing
    found = DataRaces()
    told: set[tuple[int, int]] = set()
    try:
        for scheduler in schedulers:
            check()
            _look_at(subject, scheduler, None if locked_only else known, found, told)
            progress(found)
    except Stopped as stopped:
        if not found.runs:
            raise
        found.stopped = stopped.signal
    return found


def _look_at(
    subject: GuestSubject, scheduler: Scheduler, known: frozenset[int] | None, found: DataRaces, told: set[tuple[int, int]]
) -> None:
    with guest_machine(subject.start, min(subject.limit, _LONGEST), apart=True) as machine:
        recording = Recording(machine)
        machine.run(scheduler, fair=not isinstance(scheduler, RoughScheduler))
        synchronizing = recording.synchronizing.locked if known is None else known | recording.synchronizing.bytes
        ordering = Ordering(recording.events, synchronizing, subject.vcpus)
        telling = Telling(Places(machine.vm.pager.image), subject.spec.image)
        for pair in ordering.unordered():
            if _instructions(pair) not in told:
                told.add(_instructions(pair))
                found.conflicts.append(telling.conflict(pair, _CLAIM))
        found.runs += 1
        found.failed += subject.judge(machine) is not None
        found.is_whole = found.is_whole and recording.is_whole


def _instructions(pair: tuple[Accessed, Accessed]) -> tuple[int, int]:
    first, second = sorted(access.instruction for access in pair)
    return first, second
