"""As if nobody tested: one schedule, the simplest."""

from collections.abc import Sequence

from kev.engine.base import Budget
from kev.machine.schedule import ANYTHING, Decision, Scheduler
from kev.race.strategy.base import UNLIMITED, Strategy


class UnpreemptedScheduler:
    """Whoever runs goes on for as long as it can; then it is the next one's turn."""

    def __init__(self, vcpu: int = -1) -> None:
        """`vcpu` is who ran last."""
        self._vcpu = vcpu

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Decision:
        if self._vcpu not in runnable:
            self._vcpu = next((vcpu for vcpu in runnable if vcpu > self._vcpu), runnable[0])
        return Decision(self._vcpu, Budget(instructions=UNLIMITED))


class Free(Strategy):
    """Every vCPU in turn, for as long as it can run."""

    name = "free"
    sampled = False

    def scheduler(self, run: int) -> Scheduler | None:
        return UnpreemptedScheduler() if run == 0 else None

    def describe(self) -> str:
        return "one run, in which each vCPU goes on until it has to wait"
