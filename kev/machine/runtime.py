"""The vCPUs as trio tasks.

The vCPUs of a machine share one emulated CPU, so one of them executes at a time: the task that holds the CPU steps the machine. It
steps other vCPUs, too, since a switch between tasks takes longer than one between vCPUs. What has to be awaited, each vCPU's own
task awaits, and it has given the CPU away before.

Time and schedule of a machine in virtual time must not depend on how long a load takes: there, all vCPUs wait for each page.
"""

import math
import time
from collections.abc import Callable
from typing import Final, Protocol

import trio

from kev.machine.schedule import TurnScheduler
from kev.machine.step import Ended, Idle, NeedsPage, Stopped
from kev.machine.ungrouped import ungrouped
from kev.machine.vcpu import Vcpu
from kev.machine.vm import Vm

_CHECKPOINT_EVERY: Final = 0.005  # seconds between chances for other tasks: input, page loads, Ctrl-C
_MOST_ROUNDS: Final = 8
"""Of tasks that have something to do at such a chance, each waking the next."""
_NANOSECONDS: Final = 1_000_000_000


class HostTurn(Protocol):
    """The machine's turn among those that share the host's processors."""

    lasts: bool

    async def take(self) -> None:
        """Returns when it is this machine's turn."""


class Runtime:
    """Runs one machine to its end."""

    def __init__(self, vm: Vm, scheduler: TurnScheduler, note_stop: Callable[[], bool]) -> None:
        """`note_stop` is told that the machine has come to `Stopped`; if it says False, the machine is paused."""
        self._note_stop: Final = note_stop
        self._vm: Final = vm
        self._scheduler: Final = scheduler
        self._parked: Final[dict[int, trio.lowlevel.Task]] = {}
        """The tasks that wait for the CPU, by vCPU."""
        self._loading = 0
        """How many wait for a page."""
        self._busy = False
        """Somebody holds the CPU."""
        self._open: trio.Event | None = None
        """While the machine is paused: what everybody waits for."""
        self._idle = False
        """Whoever holds the CPU waits for `_activity`."""
        self._activity = trio.Event()
        self._checkpoint_soon = False
        self._last_checkpoint = time.perf_counter()
        self.turn: HostTurn | None = None
        """If machines share the host's processors in turns. What is over before the next chance for other tasks needs none."""

    async def run(self) -> None:
        """Returns when the machine has ended."""
        forget = self._vm.interrupts.runnable.subscribe(self.note_activity)
        try:
            await self._load_what_was_needed()
            with ungrouped():
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    for vcpu in self._vm.vcpus:
                        nursery.start_soon(self._run_vcpu, vcpu, name=f"vcpu{vcpu.index}")
        finally:
            forget()

    async def _load_what_was_needed(self) -> None:
        """In virtual time nobody else would: vCPUs of a machine that was saved while they waited for pages."""
        if self._vm.virtual_time:
            for vcpu in self._vm.vcpus:
                await self._vm.load_page(vcpu)

    def note_activity(self) -> None:
        """Something happened that may make a vCPU runnable, or end the run."""
        if self._idle:
            self._activity.set()

    def checkpoint_soon(self) -> None:
        """Some other task has something to do: it gets its chance after the step that is under way."""
        self._checkpoint_soon = True

    @property
    def paused(self) -> bool:
        return self._open is not None

    def pause(self) -> None:
        """No vCPU runs from now on, until `resume`. To be called by another task of this trio program."""
        if self._open is None:
            self._open = trio.Event()
            self._vm.clock.stop()

    def resume(self) -> None:
        if self._open is not None:
            self._vm.clock.go_on()
            self._open.set()
            self._open = None

    # One vCPU.

    async def _run_vcpu(self, vcpu: Vcpu) -> None:
        while True:
            # In virtual time, whoever holds the CPU loads the page, also if this task had not begun yet when that was needed.
            while vcpu.needs is not None and not self._vm.virtual_time:
                await self._load(vcpu)
            await self._wait_for_cpu(vcpu)
            await self._hold_cpu(vcpu)
            self._hand_over()

    async def _load(self, vcpu: Vcpu) -> None:
        self._loading += 1
        try:
            await self._vm.load_page(vcpu)
        finally:
            self._loading -= 1
            self.note_activity()
        if self._vm.ending is not None:
            await self._end()

    async def _wait_for_cpu(self, vcpu: Vcpu) -> None:
        if self._busy:
            self._parked[vcpu.index] = trio.lowlevel.current_task()

            def give_up(_raise_cancel: object) -> trio.lowlevel.Abort:
                # At once: until the task notices, another one may take a step, and a task must not be woken twice.
                del self._parked[vcpu.index]
                return trio.lowlevel.Abort.SUCCEEDED

            await trio.lowlevel.wait_task_rescheduled(give_up)
        self._busy = True

    def _hand_over(self) -> None:
        """Gives the CPU to a task that waits for it."""
        if self._parked:
            self._wake(next(iter(self._parked)))
        else:
            self._busy = False

    def _wake(self, vcpu: int) -> None:
        trio.lowlevel.reschedule(self._parked.pop(vcpu))

    @trio.lowlevel.enable_ki_protection
    async def _hold_cpu(self, own: Vcpu) -> None:
        """Steps the machine until `own` has to wait for a page.

        Ctrl-C is raised in the program's main task, at its next checkpoint: in a callback of the emulated CPU it could be lost.
        """
        vm, scheduler = self._vm, self._scheduler
        while own.needs is None:
            while self._open is not None:  # it may have been paused again before this task's turn
                await self._open.wait()
            step = vm.step(scheduler)
            kind = type(step)
            if kind is NeedsPage:
                await self._let_load(own, vm.vcpus[step.vcpu])  # type: ignore[union-attr]
            elif kind is Idle:
                await self._wait_for_activity(step.deadline)  # type: ignore[union-attr]
            elif kind is Ended:
                await self._end()
            elif kind is Stopped and not self._note_stop():
                self.pause()
            if time.perf_counter() - self._last_checkpoint > _CHECKPOINT_EVERY:
                await self._let_others_go_first()
                if self.turn is not None and not self.turn.lasts:
                    await self.turn.take()
                self._last_checkpoint = time.perf_counter()
            elif self._checkpoint_soon:
                await self._let_others_go_first()
            elif self._loading:
                await trio.lowlevel.checkpoint()

    async def _let_others_go_first(self) -> None:
        """Until they wait for something: what takes several tasks is not to take a step of the machine behind each."""
        self._checkpoint_soon = False
        for _ in range(_MOST_ROUNDS):
            await trio.lowlevel.checkpoint()
            if not trio.lowlevel.current_statistics().tasks_runnable:
                return

    async def _let_load(self, own: Vcpu, vcpu: Vcpu) -> None:
        """`vcpu` needs a page: its own task waits for it."""
        if self._vm.virtual_time:
            await self._load(vcpu)
        elif vcpu.index in self._parked:
            self._wake(vcpu.index)
            await self._wait_for_cpu(own)

    async def _end(self) -> None:
        self._nursery.cancel_scope.cancel()
        await trio.sleep_forever()

    async def _wait_for_activity(self, deadline: int | None) -> None:
        """Returns when something happened, or when the next timer is due."""
        self._activity = trio.Event()
        self._idle = True
        try:
            now = self._vm.clock.now()
            if deadline is not None and deadline <= now:
                return
            with trio.move_on_after(math.inf if deadline is None else (deadline - now) / _NANOSECONDS):
                await self._activity.wait()
            self._last_checkpoint = time.perf_counter()
        finally:
            self._idle = False
