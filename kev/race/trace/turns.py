"""Turns of several steps, where every step is asked for."""

from collections.abc import Sequence
from typing import Final

from kev.machine.schedule import Scheduler
from kev.race.interleaving import VCPU_BITS
from kev.race.strategy.base import UNLIMITED


class Turns:
    """Asks a scheduler when a turn is over: all its steps are taken, or its vCPU cannot go on."""

    __slots__ = ("_accesses", "_choose", "_executed", "_left", "_longest", "_vcpu")

    def __init__(self, scheduler: Scheduler, longest: int) -> None:
        """A turn has at most `longest` steps."""
        self._choose: Final = scheduler.next
        self._longest: Final = longest
        self._vcpu = -1
        self._left = self._executed = self._accesses = 0
        """Steps of the present turn that are to be taken, and that were; and what those accessed."""

    def step(self, runnable: Sequence[int], last: int) -> int:
        """See `kev.race.strategy.base.SteppedScheduler`."""
        self._accesses |= last >> VCPU_BITS
        if not self.is_under_way(runnable):
            self._vcpu, budget, _ = self._choose(runnable, self._executed, self._accesses)
            self._left = min(budget.instructions or UNLIMITED, self._longest)
            self._executed = self._accesses = 0
        self._left -= 1
        self._executed += 1
        return self._vcpu

    def is_under_way(self, runnable: Sequence[int]) -> bool:
        """The turn goes on with the next step."""
        return self._left > 0 and self._vcpu in runnable
