"""Random choices from a seed."""

from _random import Random as Generator  # `random.Random` takes longer to seed it
from collections.abc import Sequence
from math import floor
from typing import Final

from kev.machine.schedule import Scheduler, SeededScheduler
from kev.race.strategy.base import SteppedScheduler, Strategy

_RUNS: Final = 1 << 32
"""Seeds of runs are that far apart, so that no two strategies share one."""
_MOST_TURNS: Final = 20_000
"""A run is not cut into more turns than about so many."""


class RandomScheduler(SteppedScheduler):
    """Chooses afresh at every step."""

    __slots__ = ("_random",)

    def __init__(self, random: Generator) -> None:
        self._random: Final = random.random

    def step(self, runnable: Sequence[int], last: int) -> int:
        draw = self._random
        return runnable[floor(draw() * len(runnable))]


class SeededRandom(Strategy):
    """Each vCPU that can run is as likely as the others: at every step, or in a guest for turns of random length.

    How long a guest's turns are at most changes from run to run, in powers of two: some races take short turns, others long ones.
    """

    name = "random"

    def __init__(self, seed: int = 0) -> None:
        self.seed: Final = seed

    def scheduler(self, run: int) -> Scheduler:
        seed = run_seed(self.seed, run)
        if self.longest_turn == 1:
            return RandomScheduler(Generator(seed))
        shortest = (self.steps // _MOST_TURNS).bit_length()
        sizes = max(self.longest_turn.bit_length() - shortest, 1)
        return SeededScheduler(seed, 1 << shortest + run % sizes)

    def describe(self) -> str:
        return f"random choices from seed {self.seed}"


def run_seed(seed: int, run: int) -> int:
    """The seed of one run."""
    return seed * _RUNS + run
