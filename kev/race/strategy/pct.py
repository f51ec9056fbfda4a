"""Probabilistic concurrency testing: few priority changes, at random steps.

S. Burckhardt, P. Kothari, M. Musuvathi, S. Nagarakatte: "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs",
ASPLOS 2010. A bug of depth d needs d ordering constraints to show. With n vCPUs and k steps, a run shows it with a probability of
1/(n * k^(d-1)) at least.
"""

from collections.abc import Sequence
from random import Random
from typing import Final

from kev.race.strategy.base import STEPS, Strategy
from kev.race.strategy.seeded import run_seed
from kev.schedule import ANYTHING, Scheduler, Slice


class PctScheduler:
    """Runs whoever has the highest priority; at each of `depth - 1` random steps, who would run drops below everybody."""

    __slots__ = ("_changes", "_priorities", "_step")

    def __init__(self, vcpus: int, steps: int, depth: int, random: Random) -> None:
        self._priorities: Final = random.sample(range(depth, depth + vcpus), vcpus)
        self._changes: Final = sorted((random.randrange(steps) for _ in range(depth - 1)), reverse=True)
        self._step = 0

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Slice:
        priority = self._priorities.__getitem__
        self._step += executed
        while self._changes and self._step >= self._changes[-1]:
            # The values below `depth` are for these: the earlier the change, the higher what remains.
            self._changes.pop()
            self._priorities[max(runnable, key=priority)] = len(self._changes)
        return STEPS[max(runnable, key=priority)]


class Pct(Strategy):
    """PCT for bugs of a given depth: 2 finds what one switch at the wrong place shows, 3 what needs two."""

    name = "pct"

    def __init__(self, seed: int = 0, depth: int = 3) -> None:
        self.seed: Final = seed
        self.depth: Final = depth

    def scheduler(self, run: int) -> Scheduler:
        return PctScheduler(self.vcpus, self.steps, self.depth, Random(run_seed(self.seed, run)))

    @property
    def bound(self) -> float:
        """The least probability that a run shows a given bug of this depth."""
        return 1 / (self.vcpus * float(self.steps) ** (self.depth - 1))

    def describe(self) -> str:
        bound = f"1/({self.vcpus} * {self.steps}^{self.depth - 1}) = {self.bound:.2g}"
        return (
            f"PCT from seed {self.seed}, depth {self.depth}: with {self.vcpus} vCPUs and {self.steps} steps, "
            f"a run shows a given bug of this depth with probability {bound} or more"
        )
