"""Probabilistic concurrency testing: few priority changes, at random steps.

S. Burckhardt, P. Kothari, M. Musuvathi, S. Nagarakatte: "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs",
ASPLOS 2010. A bug of depth d needs d ordering constraints to show. With n vCPUs and k steps, a run shows it with a probability of
1/(n * k^(d-1)) at least.
"""

from _random import Random as Generator  # `random.Random` takes longer to seed it
from collections.abc import Sequence
from typing import Final

from kev.engine.base import Budget
from kev.machine.schedule import ANYTHING, Decision, Scheduler
from kev.race.strategy.base import UNLIMITED, SteppedScheduler, Strategy
from kev.race.strategy.seeded import run_seed

_MOST_TURNS: Final = 1_000
"""A guest's run is not cut into more turns than about so many."""


class PctScheduler(SteppedScheduler):
    """Runs whoever has the highest priority; at each of `depth - 1` random steps, who would run drops below everybody.

    Steps count where there is a choice: who drops below everybody while nobody else can run goes on all the same.
    """

    __slots__ = ("_changes", "_left", "_order")

    def __init__(self, vcpus: int, steps: int, depth: int, random: Generator) -> None:
        draw = random.random
        priorities = [draw() for _ in range(vcpus)]
        self._order: Final = sorted(range(vcpus), key=priorities.__getitem__)
        """vCPUs by priority, the highest first."""
        self._changes: Final = [UNLIMITED, *sorted([int(draw() * steps) for _ in range(depth - 1)], reverse=True)]
        """Before which steps priorities change, the last first."""
        self._left = self._changes[-1]
        """How many steps are left until they change next."""

    def step(self, runnable: Sequence[int], last: int) -> int:
        if self._left <= 0:
            self._change(runnable)
        if len(runnable) > 1:
            self._left -= 1
        for vcpu in self._order:  # `_highest` without its call
            if vcpu in runnable:
                return vcpu
        return self._highest(runnable)

    def _change(self, runnable: Sequence[int]) -> None:
        """Lowers the priority of who would run, as often as it is time to."""
        while self._left <= 0:
            self._left -= self._changes.pop()
            self._left += self._changes[-1]
            dropped = self._highest(runnable)
            self._order.remove(dropped)
            self._order.append(dropped)

    def _highest(self, runnable: Sequence[int]) -> int:
        for vcpu in self._order:
            if vcpu in runnable:
                return vcpu
        raise ValueError(f"none of the vCPUs {runnable} has a priority")


class PctTurnScheduler(PctScheduler):
    """The same in turns of random length."""

    __slots__ = ("_contested", "_longest_turn", "_random")

    def __init__(self, vcpus: int, steps: int, depth: int, random: Generator, longest_turn: int) -> None:
        """`longest_turn` is how many steps may pass until it is looked whether somebody of a higher priority can run again."""
        super().__init__(vcpus, steps, depth, random)
        self._contested = False
        self._longest_turn: Final = longest_turn
        self._random: Final = random.random

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Decision:
        if self._contested:
            self._left -= executed
        self._contested = len(runnable) > 1
        self._change(runnable)
        vcpu = self._highest(runnable)
        turn = 1 << int(self._random() * self._longest_turn.bit_length())
        return Decision(vcpu, Budget(instructions=min(turn, self._left)))


class Pct(Strategy):
    """PCT for bugs of a given depth: 2 finds what one switch at the wrong place shows, 3 what needs two."""

    name = "pct"

    def __init__(self, seed: int = 0, depth: int = 3) -> None:
        self.seed: Final = seed
        self.depth: Final = depth

    def scheduler(self, run: int) -> Scheduler:
        random = Generator(run_seed(self.seed, run))
        if self._turn == 1:
            return PctScheduler(self.vcpus, self.steps, self.depth, random)
        return PctTurnScheduler(self.vcpus, self.steps, self.depth, random, self._turn)

    @property
    def _turn(self) -> int:
        return max(self.longest_turn, self.steps // _MOST_TURNS) if self.longest_turn > 1 else 1

    @property
    def bound(self) -> float:
        """The least probability that a run shows a given bug of this depth."""
        try:
            return 1 / (self.vcpus * float(self.steps) ** (self.depth - 1))
        except OverflowError:  # it is smaller than there are numbers for
            return 0.0

    def describe(self) -> str:
        bound = f"1/({self.vcpus} * {self.steps}^{self.depth - 1}) = {self.bound:.2g}"
        vcpus = "1 vCPU" if self.vcpus == 1 else f"{self.vcpus} vCPUs"
        return (
            f"PCT from seed {self.seed}, depth {self.depth}: with {vcpus} and {self.steps} steps, "
            f"a run shows a given bug of this depth with probability {bound} or more"
        )
