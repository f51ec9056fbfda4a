"""Looks for races in a subject, from trying what failed before to failures that are small enough to read."""

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs

from kev.race.explore import Exploration, Finds, Found, Progress, explore
from kev.race.jobs import explore_shared, limits
from kev.race.outcome import Failure
from kev.race.schedule import Schedule
from kev.race.shrink import Shrunk, shrink
from kev.race.store import FailureStore, StoreError
from kev.race.strategy.base import Strategy
from kev.race.subject import Subject
from kev.race.token import Token
from kev.spec.errors import SpecError
from kev.work.base import Place
from kev.work.here import Here
from kev.work.processes import Processes
from kev.work.results import as_ended
from kev.work.stopping import Stopped, signals_noted

S = TypeVar("S", bound=Subject)


@attrs.frozen(slots=True)
class Detected(Generic[S]):
    """A failure of one kind."""

    finds: Finds
    token: Token
    """Of the first run that failed in this way."""
    file: Path | None
    """Where the failure is kept; None if it could not be."""
    shrunk: Shrunk[S] | None = None
    """None if runs cannot be relied upon, or if a signal came before."""

    @property
    def shrunk_token(self) -> Token | None:
        return None if self.shrunk is None else Token(self.shrunk.subject.identity, self.shrunk.schedule)

    def as_dict(self) -> dict[str, Any]:
        """For JSON. The smallest case is run once more, to tell it."""
        found, shrunk = self.finds.first, self.shrunk
        failure: dict[str, Any] = {"run": found.run, "oracle": found.failure.oracle, "message": found.failure.message}
        failure |= {"times": self.finds.times, "step": found.failure.step, "switches": found.schedule.switches}
        failure["token"] = str(self.token)
        if shrunk is not None:
            failure["shrunk"] = {
                "message": shrunk.failure.message,
                "switches": shrunk.schedule.switches,
                "steps": shrunk.schedule.steps,
                "vcpus": shrunk.subject.vcpus,
                "subject": str(shrunk.subject.identity),
                "token": str(self.shrunk_token),
                "story": shrunk.subject.tell(shrunk.schedule).as_dict(),
            }
        return failure


@attrs.frozen(slots=True)
class Detection(Generic[S]):
    """What looking for races came to."""

    exploration: Exploration
    failures: Sequence[Detected[S]] = ()
    """One of each kind that was found, in the order of their runs."""
    unkept: str = ""
    """Why failures could not be kept for the next time, if they could not: that takes nothing from what was found."""

    @property
    def first(self) -> Detected[S] | None:
        return self.failures[0] if self.failures else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        exploration = self.exploration
        return {
            "strategy": exploration.strategy,
            "runs": exploration.runs,
            "redundant": exploration.redundant,
            "schedules": len(exploration.schedules),
            "interleavings": len(exploration.interleavings),
            "coverage": exploration.coverage,
            "longest": exploration.longest,
            "complete": exploration.complete,
            "stopped": None if exploration.stopped is None else signal.Signals(exploration.stopped).name,
            "seconds": round(exploration.seconds, 3),
            "nondeterminism": None if exploration.nondeterminism is None else exploration.nondeterminism.message,
            "failure": None if self.first is None else self.first.as_dict(),
            "failures": [failure.as_dict() for failure in self.failures],
            "unkept": self.unkept,
        }


def detect(
    subject: S,
    strategy: Strategy,
    runs: int | None,
    *,
    seconds: float | None = None,
    keep_going: bool = False,
    place: Place = Here(),  # noqa: B008
    store: FailureStore,
    progress: Progress | None = None,
    on_found: Callable[[Found, Token], None] | None = None,
    signals: Sequence[int] = (signal.SIGINT,),
) -> Detection[S]:
    """Explores a subject for `runs` runs or `seconds`; keeps and shrinks the first failure, or with `keep_going` one of each kind.

    Runs and shrinking are shared out to the workers of `place`. `on_found` hears of a failure before it is shrunk. `signals`
    end it, and what was found until then is the result. WorkError; SpecError for `runs` or `seconds` that are no limits.
    """
    runs, seconds = limits(runs, seconds)
    if runs is None and seconds is None:
        raise SpecError("runs: None: it must be a number if `seconds` is None, too: what has no limit does not end")
    with signals_noted(signals):
        exploration = explore(subject, strategy, 0, known=store.schedules(subject.identity), keep_going=keep_going)
        if not exploration.over:
            known = exploration
            exploration = explore_shared(subject, strategy, runs, place, progress, seconds=seconds, keep_going=keep_going)
            for kind, finds in known.kinds.items():
                exploration.kinds.setdefault(kind, finds)
            exploration.found = known.found or exploration.found
        every = sorted(exploration.kinds.values(), key=lambda finds: finds.first.run)
        kept: list[tuple[Finds, Token, Path | None]] = []
        unkept = ""
        for finds in every:
            token = Token(subject.identity, finds.first.schedule)
            if on_found is not None:
                on_found(finds.first, token)
            file = None
            try:
                file = store.keep(token, finds.first.failure)
            except StoreError as error:
                unkept = str(error)
            kept.append((finds, token, file))
        shrunk = _shrunk(subject, exploration, [finds.first for finds in every], place)
        failures = [Detected(*failure, smallest) for failure, smallest in zip(kept, shrunk, strict=True)]
        return Detection(exploration, failures, unkept)


def _shrunk(subject: S, exploration: Exploration, found: Sequence[Found], place: Place) -> list[Shrunk[S] | None]:
    """The smallest of each failure, by a worker; None for what a signal came before, and where runs cannot be relied upon."""
    smallest: list[Shrunk[S] | None] = [None] * len(found)
    if exploration.nondeterminism is not None or exploration.stopped is not None:
        return smallest
    if len(found) == 1 and isinstance(place, Processes):
        place = Here()  # it takes no longer, and no process has to be started
    try:
        for index, shrunk in as_ended(_shrink, [(subject, first.schedule, first.failure) for first in found], place):
            smallest[index] = shrunk
    except Stopped as stopped:
        exploration.stopped = stopped.signal
    return smallest


def _shrink(failed: tuple[S, Schedule, Failure]) -> Shrunk[S]:
    return shrink(*failed)
