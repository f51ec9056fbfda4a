"""What can be explored."""

from collections.abc import Iterator
from typing import Protocol, Self

import attrs

from kev.machine.schedule import Scheduler
from kev.race.outcome import Outcome
from kev.race.schedule import Schedule
from kev.race.shared import SharedAccesses
from kev.race.stories.story import Story


@attrs.frozen(slots=True)
class Identity:
    """What a subject is, in words that it can be found by again."""

    kind: str
    """`trace`, `guest` or `test`."""
    target: str
    """Which pager, guest or test it is."""
    details: str = ""
    """The program of a trace, the machine of a guest."""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.kind, self.target, self.details)))


class Subject(Protocol):
    """Something that runs under a scheduler, again and again, and knows what may not happen."""

    @property
    def identity(self) -> Identity: ...

    @property
    def vcpus(self) -> int: ...

    @property
    def actors(self) -> int:
        """How many there are to choose from: vCPUs, and their store buffers behind them, if they have some."""

    @property
    def free_steps(self) -> int:
        """About how many steps of a run there are in which another vCPU could go on instead."""

    @property
    def longest_turn(self) -> int:
        """1 if every single step can be chosen; else how many steps a turn may well have, when its length is left to chance."""

    def shared_accesses(self) -> SharedAccesses | None:
        """What its vCPUs share; None if that cannot be known before. RaceError if its runs are too long to find it out."""

    def run(self, scheduler: Scheduler) -> Outcome:
        """One run from the beginning, until it ends or does something wrong. Whatever `scheduler` raises."""

    def replay(self, scheduler: Scheduler) -> Outcome:
        """The same, but `scheduler` follows a schedule: it is offered vCPUs that spin, too, which otherwise come last."""

    def tell(self, schedule: Schedule) -> Story:
        """What happens under a schedule, as far as it can be followed."""

    def smaller(self) -> Iterator[Self]:
        """The same with something left out, one at a time. vCPUs keep their numbers."""

    def compact(self, schedule: Schedule) -> tuple[Self, Schedule]:
        """The same without what does nothing, with the schedule to go with it."""
