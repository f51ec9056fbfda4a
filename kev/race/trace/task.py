"""Where a vCPU of a trace run is."""

from collections.abc import Callable, Coroutine
from typing import Any

import attrs

from kev.addressing import PAGE_SHIFT
from kev.pager.protocols import Point
from kev.race.meeting import Meeting
from kev.race.points import TracePoint


@attrs.define(eq=False, slots=True)
class Task:
    """A vCPU's part of a run."""

    body: Coroutine[Any, None, None]
    resume: Callable[[None], Any]
    point: Point | TracePoint = TracePoint.ACCESS
    """The scheduling point that it reached last."""
    gpa: int = -1
    """What that is about."""
    touches: int = 0
    """What the step may do that begins there, as a step of vCPU 0: see `kev.race.interleaving`."""
    meeting: Meeting | None = None
    """Where it is suspended if it waits, or was woken and has not gone on yet."""
    scope: int = 0
    """What each of its steps may do besides, in what it is doing now."""
    done: bool = False
    stopped: bool = False
    """It is done, or blocked."""

    @property
    def page(self) -> int:
        """The number of the page it reached for last; -1 for none."""
        return self.gpa >> PAGE_SHIFT

    @property
    def cancellable(self) -> bool:
        """It is in the pager."""
        return not self.done and (self.meeting is not None or self.point is not TracePoint.ACCESS)

    def wait(self, meeting: Meeting) -> None:
        """It is suspended there, until somebody wakes it and it is resumed."""
        self.meeting = meeting
        self.resume = self._go_on

    def leave(self) -> None:
        """It goes on, wherever it was suspended."""
        self.meeting = None
        self.resume = self.body.send

    def _go_on(self, _: None) -> object:
        self.leave()
        return self.resume(None)
