"""How one run ended."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, NamedTuple
from zlib import crc32

import attrs

from kev.race.interleaving import digest_of, order_of
from kev.race.schedule import Schedule


@attrs.frozen(slots=True)
class Failure:
    """What a run did wrong."""

    oracle: str
    """The name of the rule that was broken."""
    message: str
    """What happened, in words: who, which page, at which step."""
    step: int
    """From 0. In a guest: the instructions until then."""
    kind: str = ""
    """What distinguishes this bug from others that break the same rule: equal however the run came to it."""

    def is_like(self, other: "Failure") -> bool:
        """The same rule was broken, and in the same way."""
        return (self.oracle, self.kind) == (other.oracle, other.kind)


class Turn(NamedTuple):
    """A part of a run in which one vCPU went on, and nothing changed in who else could have."""

    vcpu: int
    steps: int
    runnable: Sequence[int]
    """Who could have gone on, this vCPU included."""
    offered: Sequence[int]
    """Who could have been chosen at its beginning: without those who let others go first."""
    paused: bool = False
    """It has ended with PAUSE, behind which another vCPU may go on as well."""
    spun: bool = False
    """It has ended in the state in which it began."""


class Outcome(ABC):
    """One run: what it did wrong, and what is needed to repeat it and to tell it from others."""

    __slots__ = ("failure", "steps")

    turns: Sequence[Turn] = ()
    """For how long each vCPU went on, where steps are too many to be told one by one."""
    begins = 0
    """The step with which what is explored begins: nobody is preempted before."""

    def __init__(self, failure: Failure | None, steps: int) -> None:
        self.failure: Final = failure
        self.steps: Final = steps

    @property
    @abstractmethod
    def schedule(self) -> Schedule: ...

    @property
    @abstractmethod
    def digest(self) -> int:
        """Of the schedule."""

    @property
    @abstractmethod
    def interleaving(self) -> int:
        """Equal for runs that differ only in the order of steps that have nothing to do with each other."""

    @property
    @abstractmethod
    def history(self) -> int:
        """A digest of everything that happened. With the same schedule it is the same, or something is not deterministic."""


class SteppedOutcome(Outcome):
    """A run of which every step is known."""

    __slots__ = ("sequence",)

    def __init__(self, failure: Failure | None, sequence: tuple[int, ...]) -> None:
        super().__init__(failure, len(sequence))
        self.sequence: Final = sequence
        """Its steps, as in `kev.race.interleaving`."""

    @property
    def schedule(self) -> Schedule:
        return Schedule.from_order(order_of(self.sequence))

    @property
    def digest(self) -> int:
        return hash(self.sequence)

    @property
    def interleaving(self) -> int:
        return digest_of(self.sequence)

    @property
    def history(self) -> int:
        # Not the message: what an `assert` says may contain the addresses of objects.
        oracle = self.failure.oracle if self.failure is not None else ""
        return hash((*self.sequence, crc32(oracle.encode())))
