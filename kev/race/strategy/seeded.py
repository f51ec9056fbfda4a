"""Random choices from a seed."""

from collections.abc import Sequence
from random import Random
from typing import Final

from kev.race.strategy.base import STEPS, Strategy
from kev.schedule import ANYTHING, Scheduler, Slice

_RUNS: Final = 1 << 32
"""Seeds of runs are that far apart, so that no two strategies share one."""


class RandomScheduler:
    """Chooses afresh at every step."""

    __slots__ = ("_random",)

    def __init__(self, random: Random) -> None:
        self._random: Final = random.random

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Slice:
        return STEPS[runnable[int(self._random() * len(runnable))]]


class SeededRandom(Strategy):
    """At every step, each vCPU that can run is as likely as the others."""

    name = "random"

    def __init__(self, seed: int = 0) -> None:
        self.seed: Final = seed

    def scheduler(self, run: int) -> Scheduler:
        return RandomScheduler(Random(run_seed(self.seed, run)))

    def describe(self) -> str:
        return f"random choices from seed {self.seed}"


def run_seed(seed: int, run: int) -> int:
    """The seed of one run."""
    return seed * _RUNS + run
