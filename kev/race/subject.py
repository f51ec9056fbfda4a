"""What can be explored."""

from typing import Protocol

from kev.race.outcome import Outcome
from kev.schedule import Scheduler


class Subject(Protocol):
    """Something that runs under a scheduler, again and again, and knows what may not happen."""

    @property
    def vcpus(self) -> int: ...

    def run(self, scheduler: Scheduler) -> Outcome:
        """One run from the beginning, until it ends or does something wrong. Whatever `scheduler` raises."""
