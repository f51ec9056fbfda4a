"""Looks for races in a subject, from trying what failed before to a failure that is small enough to read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs

from kev.race.explore import Exploration, Found, Progress, explore
from kev.race.jobs import explore_shared
from kev.race.shrink import Shrunk, shrink
from kev.race.store import FailureStore
from kev.race.strategy.base import Strategy
from kev.race.subject import Subject
from kev.race.token import Token

S = TypeVar("S", bound=Subject)


@attrs.frozen(slots=True)
class Detection(Generic[S]):
    """What looking for races came to."""

    exploration: Exploration
    token: Token | None = None
    """Of the run that failed."""
    shrunk: Shrunk[S] | None = None
    file: Path | None = None
    """Where the failure is kept."""

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
            "seconds": round(exploration.seconds, 3),
            "nondeterminism": None if exploration.nondeterminism is None else exploration.nondeterminism.message,
            "failure": self._failure(),
        }

    def _failure(self) -> dict[str, Any] | None:
        found, shrunk = self.exploration.found, self.shrunk
        if found is None:
            return None
        failure: dict[str, Any] = {"run": found.run, "oracle": found.failure.oracle, "message": found.failure.message}
        failure |= {"step": found.failure.step, "switches": found.schedule.switches, "token": str(self.token)}
        if shrunk is not None:
            failure["shrunk"] = {
                "message": shrunk.failure.message,
                "switches": shrunk.schedule.switches,
                "steps": shrunk.schedule.steps,
                "vcpus": shrunk.subject.vcpus,
                "subject": str(shrunk.subject.identity),
                "token": str(self.shrunk_token),
            }
        return failure

    @property
    def shrunk_token(self) -> Token | None:
        return None if self.shrunk is None else Token(self.shrunk.subject.identity, self.shrunk.schedule)


def detect(
    subject: S,
    strategy: Strategy,
    runs: int,
    *,
    jobs: int = 1,
    store: FailureStore,
    progress: Progress | None = None,
    on_found: Callable[[Found, Token], None] | None = None,
) -> Detection[S]:
    """Explores a subject; keeps and shrinks the first failure. `on_found` hears of it before it is shrunk."""
    exploration = explore(subject, strategy, 0, known=store.schedules(subject.identity))
    if not exploration.over:
        exploration = explore_shared(subject, strategy, runs, jobs, progress)
    found = exploration.found
    if found is None:
        return Detection(exploration)
    token = Token(subject.identity, found.schedule)
    if on_found is not None:
        on_found(found, token)
    file = store.keep(token, found.failure)
    shrunk = None if exploration.nondeterminism else shrink(subject, found.schedule, found.failure)
    return Detection(exploration, token, shrunk, file)
