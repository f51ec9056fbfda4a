"""A schedule once more."""

from collections.abc import Sequence
from typing import Final

from kev.engine.base import Budget
from kev.race.errors import CannotReplay
from kev.race.schedule import Schedule
from kev.schedule import ANYTHING, FreeScheduler, Slice


class ReplayScheduler:
    """Follows a schedule to the letter. CannotReplay where that is not possible."""

    def __init__(self, schedule: Schedule) -> None:
        self._segments: Final = list(reversed(schedule.segments))
        self._step = 0
        self._left = 0

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Slice:
        self._step += executed
        self._left -= executed
        if self._left > 0:
            raise CannotReplay(f"step {self._step}: the vCPU of the schedule has to wait, but is to go on for {self._left} steps")
        if not self._segments:
            raise CannotReplay(f"step {self._step}: the schedule ends here, but the run does not")
        vcpu, self._left = self._segments.pop()
        if vcpu not in runnable:
            raise CannotReplay(f"step {self._step}: the schedule wants vCPU {vcpu}, which cannot run")
        return Slice(vcpu, Budget(instructions=self._left))


class RoughScheduler:
    """Follows a schedule as far as that is possible, and goes on without preemptions where it ends."""

    def __init__(self, schedule: Schedule) -> None:
        self._segments: Final = list(reversed(schedule.segments))
        self._free: Final = FreeScheduler()

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Slice:
        while self._segments:
            vcpu, steps = self._segments.pop()
            if vcpu in runnable:
                return Slice(vcpu, Budget(instructions=steps))
        return self._free.next(runnable)
