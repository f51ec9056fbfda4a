"""One launch in this process, measured."""

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from kev.guests.images import open_image
from kev.machine.api import opened, wanted_machine
from kev.machine.ending import SIGNALLED, EndingKind
from kev.machine.launcher import prepare, run
from kev.machine.run_report import RunReport
from kev.measure.case import Metrics
from kev.measure.errors import BenchError
from kev.pager.policy import PagingPolicy
from kev.pager.prefetch import Prefetch
from kev.pager.record import Record
from kev.pager.slow_source import SlowSource, SourceDelay
from kev.pager.working_set import WorkingSet
from kev.spec.machine_spec import MachineSpec
from kev.work.stopping import Stopped, check

_TIMEOUT = 600.0


@attrs.frozen(slots=True)
class Launch:
    """A guest and the machine it is launched on."""

    image: str
    """A file, or a guest's name."""
    memory: int
    """Bytes of RAM."""
    policy: Callable[[], PagingPolicy] = PagingPolicy
    delay: SourceDelay | None = None

    def measure(self) -> Metrics:
        """Launches the guest and runs it to its end. The times are from before its image was looked for."""
        gc.collect()
        opening, report = self.run(self.policy())
        if report.ending.kind is not EndingKind.EXITED:
            raise BenchError(f"{self.image}: did not boot: {report.ending.message}")
        return _metrics(opening, report)

    def run(self, policy: PagingPolicy) -> tuple[float, RunReport]:
        """How many milliseconds it took to open the image, and what came then."""
        began = time.perf_counter()
        with open_image(self.image) as (source, _):
            slowed = source if self.delay is None else SlowSource(source, self.delay)
            machine = prepare(slowed, memory=self.memory, policy=policy, output=_ignore)
            opening = (machine.times.began - began) * 1e3
            return opening, not_stopped(run(machine, timeout=_TIMEOUT))


@attrs.frozen(slots=True)
class MachineLaunch:
    """A machine that is described, with the paging policy and all."""

    spec: MachineSpec
    policy: Callable[[], PagingPolicy] | None = None
    """Makes the policy of each run, if that is not the one that `spec` names."""
    source: Callable[[Any], Any] | None = None
    """Makes of the image's source what the image is read from (`kev.pager.source`)."""

    def measure(self) -> Metrics:
        """Launches it and runs it to its end, or for as long as it is to run. BenchError if it prints nothing."""
        gc.collect()
        began = time.perf_counter()
        wishes = {} if self.policy is None else {"paging": self.policy()}
        wanted = wanted_machine(self.spec, wishes)._replace(read_through=self.source)
        with opened(wanted) as machine:
            opening = (machine.times.began - began) * 1e3
            report = not_stopped(run(machine, timeout=wanted.spec.timeout or _TIMEOUT))
        return _metrics(opening, report)


def not_stopped(report: RunReport) -> RunReport:
    """The same. Stopped if a signal has ended the run, or has come when it had just ended."""
    check()
    if report.ending.kind is EndingKind.INTERRUPTED:
        raise Stopped(report.exit_code - SIGNALLED)
    return report


def _metrics(opening: float, report: RunReport) -> Metrics:
    """`opening` is what came before the launch, in milliseconds. BenchError if the guest has printed nothing."""
    if report.first_output_ms is None or report.launch_ms is None:
        raise BenchError(f"{report.image}: did not boot: {report.ending.message or 'it printed nothing'}")
    return {
        "first_instruction_ms": opening + report.launch_ms,
        "first_output_ms": opening + report.first_output_ms,
        "end_ms": opening + report.run_ms,
        "violations": report.violations,
        "page_waits": report.page_waits,
        "pages_loaded": report.pages_loaded,
    }


def recorded_set(image: str | Path, memory: int) -> WorkingSet:
    """The working set of a guest that is run for this."""
    policy = Record()
    Launch(str(image), memory).run(policy)
    return policy.working_set


def prefetching(image: str | Path, memory: int) -> Callable[[], PagingPolicy]:
    """Makes policies that prefetch what a run of this guest touches."""
    working_set = recorded_set(image, memory)
    return lambda: Prefetch(working_set)


def _ignore(_: bytes) -> None:
    """The guest's output is not what is measured."""
