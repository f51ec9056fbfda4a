"""Where a vCPU of a trace run is."""

from collections.abc import Callable, Coroutine
from typing import Any

import attrs

from kev.machine.schedule import ANYTHING
from kev.race.meeting import Meeting
from kev.race.points import At, TracePoint


@attrs.define(eq=False, slots=True)
class Task:
    """A vCPU's part of a run."""

    body: Coroutine[Any, None, None]
    resume: Callable[[None], Any]
    at: At | Meeting = (TracePoint.ACCESS, -1)
    """Where it is suspended."""
    page: int = -1
    """The number of the page it reached for last; -1 for none."""
    touches: int = ANYTHING
    """What its next step accesses, a bit for each page."""
    scope: int = 0
    """What each of its steps may access besides, in what it is doing now."""
    done: bool = False
    stopped: bool = False
    """It is done, or blocked."""

    @property
    def cancellable(self) -> bool:
        """It is in the pager."""
        return not self.done and (isinstance(self.at, Meeting) or self.at[0] is not TracePoint.ACCESS)
