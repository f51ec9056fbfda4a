"""A schedule once more."""

from collections.abc import Sequence
from typing import Final

from kev.engine.base import Budget
from kev.machine.schedule import ANYTHING, CountedScheduler, Decision
from kev.race.errors import CannotReplay, ScheduleOver
from kev.race.schedule import Schedule
from kev.race.strategy.base import UNLIMITED


class ReplayScheduler:
    """Follows a schedule to the letter. CannotReplay where that is not possible, ScheduleOver where it ends."""

    def __init__(self, schedule: Schedule) -> None:
        self._segments: Final = list(reversed(schedule.segments))
        self._step = 0
        self._vcpu = -1
        self._left = 0

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Decision:
        self._step += executed
        self._left -= executed
        if self._left <= 0:
            if not self._segments:
                raise ScheduleOver(f"step {self._step}: the schedule ends here, but the run does not")
            self._vcpu, self._left = self._segments.pop()
        if self._vcpu not in runnable:
            raise CannotReplay(f"step {self._step}: the schedule wants vCPU {self._vcpu} for {self._left} steps, which cannot run")
        return Decision(self._vcpu, Budget(instructions=self._left))


class RoughScheduler:
    """Follows a schedule as far as that is possible, and goes on without preemptions where it ends."""

    def __init__(self, schedule: Schedule) -> None:
        self._segments: Final = list(reversed(schedule.segments))
        self._vcpu = -1
        self._left = 0
        self.over = False
        """It has come to the end of the schedule."""
        self._free: Final = CountedScheduler(UNLIMITED)

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Decision:
        self._left -= executed
        while self._left <= 0 or self._vcpu not in runnable:
            if not self._segments:
                self.over = True
                return self._free.next(runnable)
            self._vcpu, self._left = self._segments.pop()
        return Decision(self._vcpu, Budget(instructions=self._left))
