"""What a strategy is."""

from abc import ABC, abstractmethod
from typing import ClassVar, Final

from kev.engine.base import Budget
from kev.race.interleaving import MAX_VCPUS
from kev.schedule import Scheduler, Slice

STEPS: Final = tuple(Slice(vcpu, Budget(instructions=1)) for vcpu in range(MAX_VCPUS))
"""One step, by vCPU."""


class Redundant(Exception):
    """Raised by a scheduler: whatever the rest of this run could show, another run shows."""


class Strategy(ABC):
    """Gives every run its scheduler."""

    name: ClassVar[str]
    sampled: ClassVar[bool] = True
    """Runs are drawn at random, and depend on nothing but their number: they can be shared out among processes."""

    vcpus = 1
    steps = 1

    def measure(self, vcpus: int, steps: int) -> None:
        """Is told what it schedules before the first run: so many vCPUs, so many steps when nobody interferes."""
        self.vcpus = vcpus
        self.steps = max(steps, 1)

    @abstractmethod
    def scheduler(self, run: int) -> Scheduler | None:
        """The scheduler of a run, by number from 0; None if there is nothing left to try."""

    @abstractmethod
    def describe(self) -> str:
        """What its runs are worth, in a line."""
