"""What is explored at the level of traces: a program, and the pager it runs against."""

from collections.abc import Iterator

import attrs

from kev.machine.schedule import Scheduler
from kev.pager.kernel import KernelVmPager
from kev.race.outcome import Outcome
from kev.race.schedule import Schedule
from kev.race.stories.story import Story
from kev.race.strategy.replay import RoughScheduler
from kev.race.subject import Identity
from kev.race.trace.machine import PagerFactory, trace_machine
from kev.race.trace.oracles import oracles_of
from kev.race.trace.program import Program
from kev.race.trace.smaller import idle_removed, smaller_programs
from kev.race.trace.steps import SteppedSubject
from kev.race.trace.story import Recorder
from kev.race.trace.vcpu import bodies
from kev.race.trace.watched import run_watched


@attrs.frozen(slots=True)
class TraceSubject(SteppedSubject):
    """A program that is run against a pager, by default the one that kev has."""

    program: Program
    factory: PagerFactory = KernelVmPager

    @property
    def identity(self) -> Identity:
        return Identity("trace", "" if self.factory is KernelVmPager else _import_path(self.factory), str(self.program))

    @property
    def actors(self) -> int:
        return 2 * self.vcpus if self.program.tso else self.vcpus

    @property
    def vcpus(self) -> int:
        return len(self.program.vcpus)

    def run(self, scheduler: Scheduler) -> Outcome:
        """Runs the program once, under the eyes of all oracles."""
        return run_watched(self.program, self.factory, scheduler)

    def tell(self, schedule: Schedule) -> Story:
        """What happens under a schedule, as far as it can be followed."""
        with trace_machine(self.program.pages, self.factory, tso=self.program.tso) as machine:
            recorder = Recorder(machine)
            machine.listen([recorder, *oracles_of(self.program, machine)])
            machine.run(bodies(self.program, machine), RoughScheduler(schedule))
            return recorder.story(f"{_import_path(self.factory)}, program {self.program}, schedule {schedule}")

    def smaller(self) -> Iterator["TraceSubject"]:
        for program in smaller_programs(self.program):
            yield attrs.evolve(self, program=program)

    def compact(self, schedule: Schedule) -> tuple["TraceSubject", Schedule]:
        program, vcpus = idle_removed(self.program)
        actors = vcpus | {self.vcpus + old: len(vcpus) + new for old, new in vcpus.items()}
        segments = ((actors[vcpu], steps) for vcpu, steps in schedule.segments if vcpu in actors)
        return attrs.evolve(self, program=program), Schedule.of(segments)


def _import_path(factory: object) -> str:
    """Where a pager can be imported from, as `module:name`."""
    return f"{getattr(factory, '__module__', '')}:{getattr(factory, '__qualname__', factory)}"
