"""As if nobody tested: one schedule, the simplest."""

from kev.race.strategy.base import UNLIMITED, Strategy
from kev.schedule import CountedScheduler, Scheduler


class Free(Strategy):
    """Every vCPU in turn, for as long as it can run."""

    name = "free"
    sampled = False

    def scheduler(self, run: int) -> Scheduler | None:
        return CountedScheduler(UNLIMITED) if run == 0 else None

    def describe(self) -> str:
        return "one run, in which each vCPU goes on until it has to wait"
