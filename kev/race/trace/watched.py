"""Machines under the eyes of all oracles: of one program after the other's runs, the same machine is used again."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from kev.pager.kernel import KernelVmPager
from kev.race.strategy.base import Redundant
from kev.race.trace.machine import PagerFactory, TraceMachine, trace_machine, trace_memory
from kev.race.trace.oracles import ORACLES
from kev.race.trace.program import Page


class _Watched(NamedTuple):
    machine: TraceMachine
    forgetting: tuple[Callable[[], None], ...]
    """What has to be called before the machine's next run."""


_idle: Final[list[_Watched]] = []
"""The machine that ran last, if it can run again."""


@contextmanager
def watched_machine(pages: Sequence[Page], factory: PagerFactory) -> Iterator[TraceMachine]:
    """A machine for one run, that all oracles listen to. There can only be one at a time in a process.

    What it holds belongs to the run: it may be another's afterwards. Only kev's own pager is known to go back to its beginning.
    """
    if factory is not KernelVmPager:
        with trace_machine(pages, factory) as machine:
            machine.listen([oracle(machine) for oracle in ORACLES])
            yield machine
        return
    watched = _take(pages)
    machine = watched.machine
    try:
        yield machine
    except Redundant:
        machine.close()
        _keep(watched)
        raise
    except BaseException:
        machine.close()
        raise
    machine.close()
    _keep(watched)


def _take(pages: Sequence[Page]) -> _Watched:
    if _idle:
        watched = _idle.pop()
        if watched.machine.pages is pages:
            watched.machine.rewind()
            for forget in watched.forgetting:
                forget()
            return watched
    machine = TraceMachine(pages, KernelVmPager, trace_memory())
    oracles = [oracle(machine) for oracle in ORACLES]
    machine.listen(oracles)
    return _Watched(machine, tuple(forget for oracle in oracles for forget in oracle.forgetting()))


def _keep(watched: _Watched) -> None:
    if watched.machine.failure is None:
        _idle[:] = (watched,)
