"""A machine under the eyes of all oracles: it is made once for all runs of a program."""

from collections.abc import Callable
from typing import Final, NamedTuple

from kev.machine.schedule import Scheduler
from kev.pager.kernel import KernelVmPager
from kev.race.outcome import SteppedOutcome
from kev.race.strategy.base import Redundant
from kev.race.trace.machine import PagerFactory, TraceMachine, trace_memory
from kev.race.trace.oracles import oracles_of
from kev.race.trace.program import Program
from kev.race.trace.vcpu import Part, bodies_of, parts_of


class _Watched(NamedTuple):
    program: Program
    vcpus: tuple[tuple[Part, ...], ...]
    """What they do."""
    machine: TraceMachine
    forgetting: tuple[Callable[[], None], ...]
    """What has to be called before the machine's next run."""


_idle: Final[list[_Watched]] = []
"""The machine that ran last, if it can run again: only kev's own pager is known to go back to its beginning."""


def run_watched(program: Program, factory: PagerFactory, scheduler: Scheduler) -> SteppedOutcome:
    """Runs a program once. Whatever `scheduler` raises."""
    watched = _take(program, factory)
    machine = watched.machine
    try:
        machine.run(bodies_of(watched.vcpus, program.short_cut, machine), scheduler)
        outcome = SteppedOutcome(machine.failure, tuple(machine.steps))
    except Redundant:
        machine.close()
        _keep(watched, factory)
        raise
    except BaseException:
        machine.close()
        raise
    machine.close()
    _keep(watched, factory)
    return outcome


def _take(program: Program, factory: PagerFactory) -> _Watched:
    if _idle:
        watched = _idle.pop()
        if factory is KernelVmPager and (watched.program is program or _is_alike(watched.program, program)):
            if watched.program is not program:
                watched = watched._replace(program=program, vcpus=_parts(program))
            watched.machine.rewind()
            for forget in watched.forgetting:
                forget()
            return watched
    machine = TraceMachine(program.pages, factory, trace_memory(), tso=program.tso)
    oracles = oracles_of(program, machine)
    machine.listen(oracles)
    return _Watched(program, _parts(program), machine, tuple(forget for oracle in oracles for forget in oracle.forgetting()))


def _parts(program: Program) -> tuple[tuple[Part, ...], ...]:
    return tuple(map(parts_of, program.vcpus))


def _is_alike(one: Program, other: Program) -> bool:
    """A machine of one can run the other."""
    return one.pages is other.pages and one.tso == other.tso and one.forbidden == other.forbidden


def _keep(watched: _Watched, factory: PagerFactory) -> None:
    if factory is KernelVmPager and watched.machine.failure is None:
        _idle[:] = (watched,)
