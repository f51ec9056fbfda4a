"""Machines that are brought to a condition, and what is made of them there: snapshots and forks."""

import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import trio

from kev.machine.conditions import condition
from kev.machine.machine import Machine, MachineState
from kev.machine.run_report import RunReport
from kev.machine.start import start
from kev.measure.case import Metrics
from kev.measure.errors import BenchError
from kev.measure.line import TIMEOUT, Line, LineWatch, check_that_it_ended, line_did_not_come
from kev.spec.machine_spec import MachineSpec
from kev.work.stopping import check

_POLL: Final = 0.0005
"""Seconds."""
_LOOK_EVERY: Final = 0.05
"""The same, between looks whether a signal has come."""


def save_at(spec: MachineSpec, where: str, file: Path) -> None:
    """Writes a snapshot of a machine that has met the condition `where`. BenchError if it does not; KevError."""
    trio.run(_save_at, spec, where, file)
    check()


async def _save_at(spec: MachineSpec, where: str, file: Path) -> None:
    async with _held_at(spec, where) as machine:
        await machine.snapshot(file)


@attrs.frozen(slots=True)
class ForkRun:
    """A machine that is forked where it has met a condition."""

    spec: MachineSpec
    where: str
    """The condition. Empty: before its first instruction, which of a snapshot is the place where it was saved."""
    line: Line

    def measure(self) -> Metrics:
        """From the call to the fork's first instruction, to its line and to its end; the counts are at the line.

        Another fork has run before, as in a process that has forked before. BenchError if the line does not come.
        """
        gc.collect()
        return trio.run(partial(self._measure))

    async def _measure(self) -> Metrics:
        async with _held_at(self.spec, self.where) as machine:
            await self._run_fork(machine)
            return await self._run_fork(machine)

    async def _run_fork(self, machine: Machine) -> Metrics:
        began = time.perf_counter()
        (fork,) = await machine.fork()
        vm = fork.vm
        vm.first_instruction = vm.ended = None
        watch = LineWatch(fork, self.line)
        try:
            await fork.resume()
            report = await _ended(fork)
        finally:
            watch.forget()
        if not watch.metrics or vm.first_instruction is None or vm.ended is None:
            raise line_did_not_come(self.spec.image, self.line, report.ending)
        metrics = {"first_instruction_ms": (vm.first_instruction - began) * 1e3, **watch.metrics}
        metrics["line_ms"] -= began * 1e3
        if not self.line.ends_run:
            check_that_it_ended(self.spec.image, report.ending)
            metrics["end_ms"] = (vm.ended - began) * 1e3
        fork.close()
        return metrics


async def _ended(machine: Machine) -> RunReport:
    """What a machine's run comes to. Stopped if a signal comes before, which trio tells nobody of."""
    while True:
        with trio.move_on_after(_LOOK_EVERY):
            return await machine.wait()
        check()


async def _until_it_stands_still(machine: Machine) -> None:
    # Nobody is told when a machine is paused.
    while machine.state not in (MachineState.PAUSED, MachineState.ENDED):
        await trio.sleep(_POLL)
        check()


@asynccontextmanager
async def _held_at(spec: MachineSpec, where: str) -> AsyncIterator[Machine]:
    """A machine that is paused where it has met a condition. BenchError if its run ends before."""
    async with start(spec.replace(timeout=spec.timeout or TIMEOUT), paused=True) as machine:
        if where:
            disarm = condition(where).arm(machine)
            await machine.resume()
            await _until_it_stands_still(machine)
            if machine.ending is not None:
                why = machine.ending.message and f": {machine.ending.message}"
                raise BenchError(f"{spec.image}: the run has ended before {where}{why}")
            disarm()
        yield machine
