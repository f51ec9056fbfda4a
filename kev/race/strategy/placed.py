"""Strategies for guests that switch vCPUs only before instructions which access what several share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from kev.engine.base import Budget
from kev.machine.schedule import ANYTHING, Decision, Scheduler
from kev.race.errors import RaceError
from kev.race.shared import SharedAccesses
from kev.race.strategy.base import UNLIMITED, Strategy
from kev.race.strategy.seeded import run_seed
from kev.race.subject import Subject

_TURN: Final = Budget(instructions=UNLIMITED)


class PlacedScheduler(ABC):
    """One whose turns end before the instructions at certain places, too."""

    def __init__(self, shared: SharedAccesses, random: Random) -> None:
        self.shared: Final = shared
        self.where: Callable[[int], int]
        """The linear address of the instruction that a vCPU executes next; given before the first decision."""
        self._random: Final = random

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Decision:
        return Decision(self.choose(runnable), _TURN)

    @abstractmethod
    def choose(self, runnable: Sequence[int]) -> int:
        """Who goes on, up to the next place."""


class PlacedStrategy(Strategy):
    """A strategy that needs to know what is shared."""

    described: str
    """What its runs are, in a few words."""

    def __init__(self, seed: int = 0) -> None:
        self.seed: Final = seed
        self._shared: SharedAccesses | None = None

    def prepare(self, subject: Subject) -> None:
        """RaceError if it is not known what the vCPUs of `subject` share."""
        super().prepare(subject)
        self._shared = subject.shared_accesses()
        if self._shared is None:
            raise RaceError(f"strategy {self.name!r}: is for guests: what a step in the pager touches is known only behind it")

    def scheduler(self, run: int) -> Scheduler:
        assert self._shared is not None
        return self.scheduler_of(self._shared, Random(run_seed(self.seed, run)))

    @abstractmethod
    def scheduler_of(self, shared: SharedAccesses, random: Random) -> PlacedScheduler: ...

    def describe(self) -> str:
        shared = self._shared
        places = "" if shared is None else f", at {len(shared.variables)} instructions that access what vCPUs share"
        return f"{self.described} from seed {self.seed}{places}"
