"""Selectively uniform random walks: each run takes one shared variable, and every order of its accesses is as likely as any other.

H. Zhao, D. Wolff, U. Mathur, A. Roychoudhury: "Selectively Uniform Concurrency Testing", ASPLOS 2025. Who makes the next access to
the variable is chosen by how many each vCPU has still to make, as far as runs before tell.
"""

from collections.abc import Sequence
from random import Random
from typing import Final

from kev.race.shared import SharedAccesses
from kev.race.strategy.placed import PlacedScheduler, PlacedStrategy


class SurwScheduler(PlacedScheduler):
    """See above. Accesses to other variables are made by whoever makes the next access to this one, or has to come before."""

    def __init__(self, vcpus: int, shared: SharedAccesses, random: Random) -> None:
        super().__init__(shared, random)
        self._variable: Final = random.choice(shared.addresses) if shared.addresses else 0
        self._left: Final = [counts.get(self._variable, 0) for counts in shared.counts]
        """How many accesses each vCPU has still to make; store buffers make none."""
        self._left.extend([0] * (vcpus - len(self._left)))
        self._intended: int | None = None
        """Who makes the next access."""
        self._moved: int | None = None
        """Who was let go on with the access."""

    def choose(self, runnable: Sequence[int]) -> int:
        if self._moved is not None:
            self._left[self._moved] = max(self._left[self._moved] - 1, 0)
            self._intended = self._moved = None
        if self._intended is None or self._intended not in runnable:
            self._intended = self._random.choices(runnable, [self._left[vcpu] + 1 for vcpu in runnable])[0]
        waiting = [vcpu for vcpu in runnable if vcpu == self._intended or not self._is_at_variable(vcpu)]
        chosen = self._random.choice(waiting)
        if self._is_at_variable(chosen):
            self._moved = chosen
        return chosen

    def _is_at_variable(self, vcpu: int) -> bool:
        return self._variable in self.shared.variables.get(self.where(vcpu), ())


class Surw(PlacedStrategy):
    """Selectively uniform random walks."""

    name = "surw"
    described = "selectively uniform random walks"

    def scheduler_of(self, shared: SharedAccesses, random: Random) -> PlacedScheduler:
        return SurwScheduler(self.vcpus, shared, random)
