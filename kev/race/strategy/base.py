"""What a strategy is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Final

from kev.engine.base import Budget
from kev.machine.schedule import ANYTHING, Decision, Scheduler
from kev.race.interleaving import MAX_VCPUS, VCPU_BITS
from kev.race.outcome import Outcome
from kev.race.subject import Subject

_STEP: Final = Budget(instructions=1)
STEPS: Final = tuple(Decision(vcpu, _STEP) for vcpu in range(MAX_VCPUS))
"""One step, by vCPU."""
UNLIMITED: Final = 1 << 40
"""Steps of a turn that is over when the vCPU has to wait, or spins."""


class Redundant(Exception):
    """Raised by a scheduler: whatever the rest of this run could show, another run shows."""


class SteppedScheduler(ABC):
    """One whose turns all have one step. Where the others' have one, too, it is asked for no decisions, which take their time."""

    __slots__ = ()

    @abstractmethod
    def step(self, runnable: Sequence[int], last: int) -> int:
        """Chooses among the vCPUs that can run who takes the next step.

        `last` is the step before, as in `kev.race.interleaving`; before the first, one of vCPU 0 that touches nothing.
        """

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Decision:
        return STEPS[self.step(runnable, accesses << VCPU_BITS)]


class Strategy(ABC):
    """Gives every run its scheduler."""

    name: ClassVar[str]
    sampled: ClassVar[bool] = True
    """Runs are drawn at random, and depend on nothing but their number: they can be shared out among processes."""
    vcpus = 1
    steps = 1
    longest_turn = 1

    def prepare(self, subject: Subject) -> None:
        """Is told what it schedules before the first run."""
        self.measure(subject.actors, subject.free_steps, subject.longest_turn)

    def measure(self, vcpus: int, steps: int, longest_turn: int) -> None:
        """What it schedules has so many vCPUs, store buffers included, and about so many steps with a choice.

        `longest_turn` is 1 where every single step is to be chosen, and more where there are too many for that.
        """
        self.vcpus = vcpus
        self.steps = max(steps, 1)
        self.longest_turn = longest_turn

    @abstractmethod
    def scheduler(self, run: int) -> Scheduler | None:
        """The scheduler of a run, by number from 0; None if there is nothing left to try."""

    def learn(self, outcome: Outcome) -> None:
        """How the run ended whose scheduler was made last."""
        return

    @abstractmethod
    def describe(self) -> str:
        """What its runs are worth, in a line."""
