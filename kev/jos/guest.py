"""One guest of a host: a machine, and the environment that it is."""

import time
from collections.abc import Sequence
from typing import Final

from kev.engine.base import Budget
from kev.envs.environment import Environment, Status
from kev.envs.guest_port import GuestPort
from kev.machine.at_once import finished
from kev.machine.ending import Ending
from kev.machine.machine import Machine
from kev.machine.run_report import RunReport
from kev.machine.schedule import ANYTHING, Decision
from kev.machine.step import Ended, Idle, NeedsPage


class Guest:
    """Made by `kev.jos.Host.mkguest`."""

    def __init__(self, machine: Machine, port: GuestPort) -> None:
        self.machine: Final = machine
        self.port: Final = port
        self.entered_by = ""
        """How it was entered last: VMLAUNCH or VMRESUME."""
        self.output: Final = bytearray()
        """What it has printed."""
        self._wakes: float | None = None
        """When a timer is due that it waits for, by `time.monotonic`."""
        self.gave_way = False
        """It has to try again what others must make possible first."""
        self.in_background = False
        """It has gone back to its host (BACKTOHOST), and goes on when its status is RUNNABLE again."""
        machine.vm.console.output.subscribe(self.output.extend)
        port.give_way = self._give_way
        port.leave = self._leave

    @property
    def number(self) -> int:
        """Which of its host's guests it is, from 1: what GETDISKIMGNUM tells it."""
        return self.port.number

    @property
    def environment(self) -> Environment:
        return self.port.environment

    @property
    def ending(self) -> Ending | None:
        """How its run has ended; None before."""
        return self.machine.vm.ending

    @property
    def started(self) -> bool:
        """It was made runnable at least once."""
        return self.environment.runs > 0 or self.environment.status is Status.RUNNABLE

    @property
    def is_awaited(self) -> bool:
        """It was started, has not ended, and is not in the background."""
        return self.started and self.ending is None and not self.in_background

    @property
    def can_run(self) -> bool:
        """It is runnable, and waits for no timer."""
        if self.ending is not None or self.environment.status is not Status.RUNNABLE:
            return False
        return self._wakes is None or self._wakes <= time.monotonic()

    @property
    def wakes(self) -> float | None:
        """When it can go on, by `time.monotonic`, if it waits for a timer."""
        return None if self.ending is not None else self._wakes

    def set_status(self, status: Status) -> None:
        """`Status.RUNNABLE` starts it or lets it go on, `Status.NOT_RUNNABLE` stops it: sys_env_set_status."""
        self.environment.status = status
        self.in_background = False

    def send(self, data: str | bytes) -> None:
        """Types `data` on the guest's serial line. MachineError if its run has ended."""
        self.machine.send(data)

    def run(self, budget: Budget) -> int:
        """One slice; returns how many instructions it took, where they are counted."""
        vm = self.machine.vm
        self._wakes = None
        before = vm.instructions
        step = vm.step(_Turn(budget))
        if isinstance(step, NeedsPage):
            finished(vm.load_page(vm.vcpus[step.vcpu]))
        elif isinstance(step, Idle) and step.deadline is not None and not vm.virtual_time:
            self._wakes = time.monotonic() + max(step.deadline - vm.clock.now(), 0) / 1e9
        elif isinstance(step, Ended):
            self.machine.note_end()
        return vm.instructions - before

    def end(self, ending: Ending) -> None:
        """Ends its run, wherever it is: the first reason counts."""
        self.machine.vm.end(ending)
        self.machine.note_end()

    def _give_way(self) -> None:
        self.gave_way = True
        self.machine.vm.let_others_run()

    def _leave(self) -> None:
        self.in_background = True
        self.environment.status = Status.NOT_RUNNABLE
        self.machine.vm.let_others_run()

    def report(self) -> RunReport:
        """The figures of its run."""
        return self.machine.report()


class _Turn:
    """Lets the guest's vCPU go on for what the host has decided."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Decision:
        return Decision(runnable[0], self._budget)

    def cut(self, rest: Decision) -> None:
        """The host decides anew."""
