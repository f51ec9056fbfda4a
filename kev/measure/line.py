"""Runs that are measured to a line of what the guest prints: launched, or going on from a snapshot."""

import gc
import time
from collections.abc import Callable
from typing import Final

import attrs

from kev.exits import EptViolation
from kev.machine.api import opened, wanted_machine
from kev.machine.ending import Ending, EndingKind
from kev.machine.launcher import run
from kev.machine.machine import Machine
from kev.machine.output import TextWatch
from kev.machine.step import Ran, Stopped
from kev.measure.case import Metrics
from kev.measure.counted_source import ReadCounts
from kev.measure.errors import BenchError
from kev.measure.launches import not_stopped
from kev.pager.policy import PagingPolicy
from kev.pager.record import Record
from kev.pager.working_set import WorkingSet
from kev.spec.machine_spec import MachineSpec
from kev.work.stopping import check

TIMEOUT: Final = 600.0
"""Seconds for a run that is described without any."""


@attrs.frozen(slots=True)
class Line:
    """What a run is measured to."""

    text: str
    """What the guest prints; empty for whatever it prints first."""
    ends_run: bool = False
    """The run is over then; else it goes on to its end."""


class LineWatch:
    """Looks at what a machine prints until the line has come, and notes what that took."""

    def __init__(self, machine: Machine, line: Line, counts: ReadCounts | None = None) -> None:
        """Of `machine`, from now on; `counts` are those of what it is read from. `forget` makes it look no more."""
        vm = machine.vm
        self.metrics: Metrics = {}
        """At the line: `line_ms` is the moment, by `time.perf_counter` and in milliseconds. Empty until then."""
        self._machine: Final = machine
        self._line: Final = line
        self._counts: Final = counts
        self._watch: Final = TextWatch(line.text)
        self._before: Final = (vm.exits[EptViolation], vm.page_waits, vm.pager.statistics.loads)
        self.forget: Final = vm.console.output.subscribe(self._look)

    def _look(self, data: bytes) -> None:
        if not self._watch.finds(data):
            return
        self.forget()
        vm, (violations, waits, loads) = self._machine.vm, self._before
        self.metrics = {
            "line_ms": time.perf_counter() * 1e3,
            "violations": vm.exits[EptViolation] - violations,
            "page_waits": vm.page_waits - waits,
            "pages_loaded": vm.pager.statistics.loads - loads,
        }
        if self._counts is not None:
            self.metrics |= {"reads": self._counts.reads, "kib_read": self._counts.bytes / 1024}
        if self._line.ends_run:
            self._machine.end(Ending.stopped())
            vm.stop_soon()


@attrs.frozen(slots=True)
class LineRun:
    """A machine, and how its pages come."""

    spec: MachineSpec
    """With its latency; its image may be a snapshot."""
    line: Line
    policy: Callable[[], PagingPolicy]
    """Makes one for each run."""

    def measure(self) -> Metrics:
        """From before the image was looked for to the first instruction, to the line and to the end; the counts are at the line.

        BenchError if the line does not come.
        """
        return self.run(self.policy())

    def run(self, policy: PagingPolicy) -> Metrics:
        gc.collect()
        counts = ReadCounts()
        began = time.perf_counter()
        wanted = wanted_machine(self.spec, {"paging": policy})._replace(read_through=counts.counted)
        with opened(wanted) as machine:
            opening = (machine.times.began - began) * 1e3
            watch = LineWatch(machine, self.line, counts)
            report = not_stopped(run(machine, timeout=wanted.spec.timeout or TIMEOUT))
        if not watch.metrics or report.launch_ms is None:
            raise line_did_not_come(self.spec.image, self.line, report.ending)
        metrics = {"first_instruction_ms": opening + report.launch_ms, **watch.metrics}
        metrics["line_ms"] -= began * 1e3
        if not self.line.ends_run:
            check_that_it_ended(self.spec.image, report.ending)
            metrics["end_ms"] = opening + report.run_ms
        return metrics


@attrs.frozen(slots=True)
class FirstInstruction:
    """A machine that is run no further."""

    spec: MachineSpec

    def measure(self) -> Metrics:
        """From before the image was looked for until the guest has executed an instruction, by clock and processor."""
        gc.collect()
        began, processor = time.perf_counter(), time.process_time()
        with opened(wanted_machine(self.spec, {})) as machine:
            machine.vm.stop_at = machine.vm.instructions + 1
            step = machine.vm.step(machine.scheduler)
            ended, processor = time.perf_counter(), time.process_time() - processor
        if not isinstance(step, Ran | Stopped):
            raise BenchError(f"{self.spec.image}: executes nothing: {step}")
        return {"first_instruction_ms": (ended - began) * 1e3, "processor_ms": processor * 1e3}


def working_set_of(spec: MachineSpec, line: Line) -> WorkingSet:
    """What a run touches that is done for this, without waiting for its source."""
    policy = Record()
    LineRun(spec.replace(source_latency=None), line, PagingPolicy).run(policy)
    check()
    return policy.working_set


def line_did_not_come(image: str, line: Line, ending: Ending) -> BenchError:
    what = f"has not printed {line.text!r}" if line.text else "has printed nothing"
    return BenchError(f"{image}: {what}: {ending.message or 'it has ended'}")


def check_that_it_ended(image: str, ending: Ending) -> None:
    """BenchError unless the guest has ended the run itself."""
    if ending.kind is not EndingKind.EXITED:
        raise BenchError(f"{image}: did not end: {ending.message}")
