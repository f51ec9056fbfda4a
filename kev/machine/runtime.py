"""The vCPUs as trio tasks.

The vCPUs of a machine share one emulated CPU, so one of them executes at a time. A task that has ended its slice asks the scheduler
who is next. While nobody has to wait, it runs that vCPU's slice itself, since a switch between tasks takes longer than one between
vCPUs; what has to be awaited, each vCPU's own task awaits. A vCPU that waits for a page, an interrupt or a SIPI has given the CPU
away before it waits.
"""

import signal
import threading
import time
from typing import Final

import trio

from kev.addressing import Gpa
from kev.exits import EptViolation, Exit
from kev.machine.ending import Ending
from kev.machine.schedule import Decision, Scheduler
from kev.machine.terminal import forward_input, single_characters
from kev.machine.vcpu import ActivityState, Vcpu
from kev.machine.vm import Vm
from kev.pager.policy import PagingPolicy

_CHECKPOINT_EVERY: Final = 0.005  # seconds between chances for other tasks: input, page loads, Ctrl-C


class Runtime:
    """Runs one machine to its end."""

    def __init__(self, vm: Vm, scheduler: Scheduler, policy: PagingPolicy | None = None) -> None:
        """`policy` loads pages before the machine runs, and beside it."""
        self._vm = vm
        self._policy = policy
        self._scheduler = scheduler
        self._parked: dict[int, trio.lowlevel.Task] = {}
        self._waiting_for_page: set[int] = set()
        self._chosen: Decision | None = None
        self._stopped: dict[int, Exit] = {}
        """What vCPUs stopped with in slices that other tasks ran, where something has to be awaited."""
        self._idle = True
        self._activity = trio.Event()
        self._last_checkpoint = time.perf_counter()

    async def run(self, timeout: float | None = None, input_descriptor: int | None = None, head_start: Exit | None = None) -> None:
        """Runs until the machine has ended.

        `timeout` is in seconds of the host's clock. What comes from `input_descriptor` goes to COM1. `head_start` is what vCPU 0
        has stopped with, if it has run already.
        """
        vm = self._vm
        vm.interrupts.on_runnable = self._note_activity
        async with trio.open_nursery() as nursery:
            self._cancel = nursery.cancel_scope.cancel
            if threading.current_thread() is threading.main_thread():
                nursery.start_soon(self._watch_for_interrupt)
            if timeout is not None:
                nursery.start_soon(self._watch_for_timeout, timeout)
            if input_descriptor is not None:
                nursery.start_soon(self._forward_input, input_descriptor)
            if self._policy is not None:
                await self._policy.before_run()
                nursery.start_soon(self._policy.beside_run)
            nursery.start_soon(self._wait_while_idle)
            for vcpu in vm.vcpus:
                exit = head_start if vcpu.index == 0 else None
                nursery.start_soon(self._run_vcpu, vcpu, exit, name=f"vcpu{vcpu.index}")

    def _end(self, ending: Ending) -> None:
        self._vm.end(ending)
        self._cancel()

    async def _watch_for_interrupt(self) -> None:
        with trio.open_signal_receiver(signal.SIGINT) as signals:
            async for _ in signals:
                self._end(Ending.interrupted())

    async def _watch_for_timeout(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self._end(Ending.timed_out(seconds))

    async def _forward_input(self, descriptor: int) -> None:
        vm = self._vm
        assert vm.com1 is not None
        try:
            with single_characters(descriptor):
                await forward_input(descriptor, vm.com1, lambda: self._end(Ending.left()), self._expect_input)
        finally:
            self._expect_input(False)

    def _expect_input(self, expected: bool) -> None:
        self._vm.expects_input = expected
        self._note_activity()

    # One vCPU.

    async def _run_vcpu(self, vcpu: Vcpu, exit: Exit | None) -> None:
        """`exit` is what the vCPU has stopped with already, if it has run before."""
        while True:
            if exit is not None:
                await self._follow_up(vcpu, exit)
            await self._checkpoint()
            slice_ = await self._turn(vcpu)
            exit = self._stopped.pop(vcpu.index, None)
            if exit is None:
                exit = self._run_slices(vcpu, slice_)

    def _run_slices(self, own: Vcpu, slice_: Decision) -> Exit | None:
        """Runs slices, also of other vCPUs: a switch between tasks takes longer than one between vCPUs.

        Returns what the slice of `own` ended with if something has to be awaited for it, and leaves it to the other vCPU's task if
        it was the other's slice. Also returns when other tasks should have a chance, or nobody can run.
        """
        vm = self._vm
        while vm.ending is None:
            vcpu = vm.vcpus[slice_.vcpu]
            if vcpu.activity is ActivityState.ACTIVE:
                exit = vm.run_slice(vcpu, slice_.budget)
                if vcpu.unfinished is not None or isinstance(exit, EptViolation):
                    if vcpu is own:
                        return exit
                    self._stopped[vcpu.index] = exit
                    self._hand_to(slice_)
                    return None
            following = None if self._is_checkpoint_due() else self._next_slice()
            if following is None:
                return None
            slice_ = following
        return None

    async def _follow_up(self, vcpu: Vcpu, exit: Exit) -> None:
        """Does what has to be awaited before the vCPU can go on."""
        vm = self._vm
        while vcpu.unfinished is not None:
            await self._load(vcpu, vcpu.unfinished.gpa)
            vm.finish(vcpu)
        if isinstance(exit, EptViolation):
            await self._load(vcpu, exit.gpa)

    async def _load(self, vcpu: Vcpu, gpa: Gpa) -> None:
        """Waits for a page while the other vCPUs run."""
        self._waiting_for_page.add(vcpu.index)
        self._hand_over()
        try:
            await self._vm.load_page(vcpu, gpa)
        finally:
            self._waiting_for_page.discard(vcpu.index)
            self._note_activity()

    async def _checkpoint(self) -> None:
        if self._vm.ending is not None:
            self._cancel()
            await trio.sleep_forever()
        if self._is_checkpoint_due():
            self._last_checkpoint = time.perf_counter()
            await trio.lowlevel.checkpoint()

    def _is_checkpoint_due(self) -> bool:
        return bool(self._waiting_for_page) or time.perf_counter() - self._last_checkpoint > _CHECKPOINT_EVERY

    async def _turn(self, vcpu: Vcpu) -> Decision:
        """Waits until the CPU is this vCPU's."""
        self._hand_over()
        while self._chosen is None or self._chosen.vcpu != vcpu.index:
            self._parked[vcpu.index] = trio.lowlevel.current_task()
            try:
                await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.SUCCEEDED)
            finally:
                self._parked.pop(vcpu.index, None)
        chosen, self._chosen = self._chosen, None
        return chosen

    # Between vCPUs.

    def _runnable(self) -> list[int]:
        waiting = self._waiting_for_page
        return [vcpu.index for vcpu in self._vm.vcpus if vcpu.activity is ActivityState.ACTIVE and vcpu.index not in waiting]

    def _hand_over(self) -> None:
        """Lets the scheduler choose who is next and wakes that vCPU's task, or the task that waits while nobody can run."""
        if self._chosen is None and not self._choose():
            self._idle = True
            self._activity.set()

    def _choose(self) -> bool:
        slice_ = self._next_slice()
        if slice_ is None:
            return False
        self._idle = False
        self._hand_to(slice_)
        return True

    def _next_slice(self) -> Decision | None:
        self._vm.timers.run_due()
        runnable = self._runnable()
        return self._scheduler.next(runnable) if runnable else None

    def _hand_to(self, slice_: Decision) -> None:
        """The CPU is the chosen vCPU's, whose task is woken if it is there already."""
        self._chosen = slice_
        task = self._parked.pop(slice_.vcpu, None)
        if task is not None:
            trio.lowlevel.reschedule(task)

    def _note_activity(self) -> None:
        """Something happened that may make a vCPU runnable."""
        if self._idle:
            self._activity.set()

    async def _wait_while_idle(self) -> None:
        while True:
            await self._activity.wait()
            self._activity = trio.Event()
            while not self._choose():
                if not self._can_continue():
                    self._end(self._vm.halted_for_ever())
                    return
                await self._wait_for_activity()

    def _can_continue(self) -> bool:
        """A timer, a page or input may still make a vCPU runnable."""
        vm = self._vm
        if self._waiting_for_page:
            return True
        return vm.interruptible and (vm.timers.next_deadline() is not None or vm.expects_input)

    async def _wait_for_activity(self) -> None:
        """Returns when something happened, or when the next timer is due."""
        with trio.move_on_after(self._vm.idle_seconds()):
            await self._activity.wait()
        self._activity = trio.Event()
