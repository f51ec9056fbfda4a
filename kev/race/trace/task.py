"""Where a vCPU of a trace run is."""

from collections.abc import Callable, Coroutine
from typing import Any

import attrs

from kev.addressing import PAGE_SHIFT
from kev.race.meeting import Meeting
from kev.race.points import At, TracePoint


@attrs.define(eq=False, slots=True)
class Task:
    """A vCPU's part of a run."""

    body: Coroutine[Any, None, None]
    resume: Callable[[None], Any]
    at: At | Meeting = (TracePoint.ACCESS, -1)
    """Where it is suspended."""
    reached: int = -1
    """The address of the page it reached for last; -1 for none."""
    scope: int = 0
    """What each of its steps may access besides, in what it is doing now."""
    done: bool = False
    stopped: bool = False
    """It is done, or blocked."""

    @property
    def page(self) -> int:
        """The number of the page it reached for last; -1 for none."""
        return self.reached >> PAGE_SHIFT

    @property
    def cancellable(self) -> bool:
        """It is in the pager."""
        return not self.done and (isinstance(self.at, Meeting) or self.at[0] is not TracePoint.ACCESS)
