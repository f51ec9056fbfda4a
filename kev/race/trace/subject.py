"""What is explored at the level of traces: a program, and the pager it runs against."""

from collections.abc import Callable, Iterable
from functools import cache

import attrs

from kev.engine.trace import TraceMemory
from kev.race.outcome import Outcome
from kev.race.trace.listener import Listener
from kev.race.trace.machine import PagerFactory, TraceMachine
from kev.race.trace.oracles import ORACLES
from kev.race.trace.program import Program
from kev.race.trace.vcpu import bodies
from kev.schedule import Scheduler
from pager.kernel import KernelVmPager


@attrs.frozen(slots=True)
class TraceSubject:
    """A program that is run against a pager, by default the one that kev has."""

    program: Program
    factory: PagerFactory = KernelVmPager

    @property
    def vcpus(self) -> int:
        return len(self.program.vcpus)

    def run(self, scheduler: Scheduler, watch: Callable[[TraceMachine], Iterable[Listener]] = lambda _: ()) -> Outcome:
        """Runs the program once, under the eyes of all oracles and of the listeners that `watch` makes."""
        machine = TraceMachine(self.program.pages, self.factory, _memory())
        try:
            machine.listen([*(oracle(machine) for oracle in ORACLES), *watch(machine)])
            machine.run(bodies(self.program, machine), scheduler)
            return Outcome(machine.failure, bytes(machine.order), machine.accesses)
        finally:
            machine.close()


@cache
def _memory() -> TraceMemory:
    """One for all runs of this process: they follow each other."""
    return TraceMemory()
