"""What race tests are about, in tests."""

from kev.pager.kernel import KernelVmPager
from kev.race.schedule import Schedule
from kev.race.strategy.replay import ReplayScheduler
from kev.race.trace.machine import PagerFactory
from kev.race.trace.program import Program
from kev.race.trace.subject import TraceSubject


def subject(program: str, factory: PagerFactory = KernelVmPager) -> TraceSubject:
    return TraceSubject(Program.parse(program), factory)


def replay(subject: TraceSubject, *segments: tuple[int, int]) -> str:
    """The oracle that complains about the run with this schedule; empty if it ends well."""
    failure = subject.run(ReplayScheduler(Schedule.of(segments))).failure
    return "" if failure is None else failure.oracle
