"""What subjects have in common of which every step can be chosen."""

from abc import ABC, abstractmethod

from kev.machine.schedule import Scheduler
from kev.race.outcome import Outcome
from kev.race.strategy.free import UnpreemptedScheduler


class SteppedSubject(ABC):
    """Runs on a trace machine, in which nobody spins."""

    __slots__ = ()

    @abstractmethod
    def run(self, scheduler: Scheduler) -> Outcome: ...

    def replay(self, scheduler: Scheduler) -> Outcome:
        return self.run(scheduler)

    @property
    def longest_turn(self) -> int:
        return 1

    def shared_accesses(self) -> None:
        """None: what a step touches is known only behind it."""
        return

    @property
    def free_steps(self) -> int:
        return self.run(UnpreemptedScheduler()).steps
