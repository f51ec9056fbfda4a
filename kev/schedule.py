"""Who runs next, and for how long."""

from collections.abc import Sequence
from typing import Protocol

import attrs

from kev.engine.base import Budget


@attrs.frozen(slots=True)
class Slice:
    """One decision: this vCPU runs until an exit or until its budget is used up."""

    vcpu: int
    budget: Budget


class Scheduler(Protocol):
    """Decides at every switch. The machine shortens the budget where a timer is due earlier."""

    def next(self, runnable: Sequence[int]) -> Slice:
        """Chooses among the vCPUs that can run, ascending and at least one."""


class FreeScheduler:
    """Fair and fast: round robin by the host's clock."""

    __slots__ = ("_budget", "_last")

    def __init__(self, seconds: float = 0.005) -> None:
        self._budget = Budget(seconds=seconds)
        self._last = -1

    def next(self, runnable: Sequence[int]) -> Slice:
        self._last = next((vcpu for vcpu in runnable if vcpu > self._last), runnable[0])
        return Slice(self._last, self._budget)


class CountedScheduler:
    """Fair and repeatable: round robin in slices of a fixed number of instructions."""

    __slots__ = ("_budget", "_last")

    def __init__(self, instructions: int = 20_000) -> None:
        self._budget = Budget(instructions=instructions)
        self._last = -1

    def next(self, runnable: Sequence[int]) -> Slice:
        self._last = next((vcpu for vcpu in runnable if vcpu > self._last), runnable[0])
        return Slice(self._last, self._budget)
