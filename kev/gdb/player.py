"""Drives a machine step by step, writing down what happens, and repeats a run from its beginning.

It does for a debugger what `kev.machine.runtime` does for machines that nobody debugs, one step each time it is asked. While a page
is loaded, all vCPUs wait.
"""

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Final, TypeAlias

import trio

from kev.exits import PreemptionTimer
from kev.gdb.history import History, Moment
from kev.machine.ending import Ending
from kev.machine.machine import Machine
from kev.machine.step import Ended, Idle, NeedsPage, Ran, Step
from kev.subscribers import Subscribers

Opener: TypeAlias = Callable[[bool], AbstractContextManager[Machine]]
"""Makes a machine, each time the same. It is told whether the machine is to repeat what another has done."""

_CHECKPOINT_EVERY: Final = 0.005  # seconds between chances for other tasks: the debugger's packets, input, Ctrl-C
_NANOSECONDS: Final = 1_000_000_000


class Player:
    """A run: its machine, which may be another after `rewind`, and its history."""

    def __init__(self, opener: Opener, output: Callable[[bytes], object]) -> None:
        """`output` is given what the guest prints, once, however often it is repeated. KevError if there is no such machine."""
        self.taken: Final[Subscribers[[]]] = Subscribers()
        """Are told when the guest has taken some of its input, in whichever machine."""
        self._opener: Final = opener
        self._output: Final = output
        self._shown = 0
        self._printed = 0
        self._files = ExitStack()
        self.machine = self._open(repeating=False)
        self.reversible: Final = self.machine.seed is not None
        """The run can be repeated."""
        self.history: Final = History(self.machine.scheduler, kept=self.reversible)
        self.retired_before: Final = tuple(vcpu.state.instructions for vcpu in self.machine.vm.vcpus)
        """How many instructions each vCPU had retired at the beginning: none, but of a machine that goes on from a snapshot."""
        self._expects_input = False
        self._happened = 0
        self._activity = trio.Event()
        self._last_checkpoint = time.perf_counter()

    def close(self) -> None:
        """Closes the machine."""
        self._files.close()

    async def begin(self) -> None:
        """Does what comes before the first instruction, so that the vCPU can be looked at."""
        await self.machine.policy.before_run()
        vm = self.machine.vm
        for vcpu in vm.vcpus:
            await vm.load_page(vcpu)  # it may have been saved while it waited for one
        vm.start_up()
        vm.clock.stop()

    async def advance(self) -> Step:
        """One step of the machine, and what has to be waited for before the next."""
        vm, history = self.machine.vm, self.history
        while (happening := history.due(self._happened)) is not None:
            self._happened += 1
            await happening.act(self.machine)
        retired = [vcpu.state.instructions for vcpu in vm.vcpus]
        vm.clock.go_on()
        step = vm.step(history)
        if isinstance(step, Idle):
            history.note_idle()
            await self._wait(step.deadline)
        elif history.current is not None:
            turn = history.current
            executed = vm.vcpus[turn.vcpu].state.instructions - retired[turn.vcpu]
            history.note(executed, over=self._is_over(step))
        if isinstance(step, NeedsPage):
            await vm.load_page(vm.vcpus[step.vcpu])
        vm.clock.stop()
        await self._checkpoint()
        return step

    async def rewind(self) -> None:
        """A new machine, at the beginning of the run. Nothing of what the run has printed is printed again."""
        self._files.close()
        self._files = ExitStack()
        self.machine = self._open(repeating=True)
        self._happened = 0
        self.history.rewind()
        self.machine.vm.expects_input = self._expects_input
        await self.begin()

    async def repeat_until(self, moment: Moment) -> None:
        """Goes on, in the past, up to `moment`."""
        self.history.end = moment
        try:
            while self.history.now < moment:
                await self.advance()
        finally:
            self.history.end = None

    # From outside.

    async def change(self, act: Callable[[Machine], Awaitable[None]]) -> None:
        """Changes something in the machine, which is changed again when the run is repeated. Raises what `act` does."""
        await act(self.machine)
        self._note(act)

    def receive(self, data: bytes) -> None:
        """Input for the guest."""
        if self.machine.ending is not None:
            return

        async def act(machine: Machine) -> None:
            machine.send(data)

        self.machine.send(data)
        self._note(act)
        self.wake()

    @property
    def backlog(self) -> int:
        """Bytes of input that the guest has not taken."""
        assert self.machine.vm.input_line is not None
        return self.machine.vm.input_line.backlog

    def expect_input(self, expected: bool) -> None:
        """Says whether input may still come."""
        self._expects_input = self.machine.vm.expects_input = expected
        self.wake()

    def end(self, ending: Ending) -> None:
        """Ends the run: the first reason counts."""
        self.machine.vm.end(ending)
        self.wake()

    def wake(self) -> None:
        """Somebody wants `advance` not to wait."""
        self._activity.set()

    def _note(self, act: Callable[[Machine], Awaitable[None]]) -> None:
        self.history.happen(act, self._happened)
        self._happened = len(self.history.happenings)

    # One step.

    def _open(self, *, repeating: bool) -> Machine:
        machine = self._files.enter_context(self._opener(repeating))
        self._printed = 0
        machine.vm.console.output.subscribe(self._show)
        assert machine.vm.input_line is not None
        machine.vm.input_line.taken.subscribe(self.taken)
        return machine

    def _show(self, data: bytes) -> None:
        """Passes on what was not printed before."""
        new = data[max(self._shown - self._printed, 0) :]
        self._printed += len(data)
        self._shown = max(self._shown, self._printed)
        if new:
            self._output(new)

    def _is_over(self, step: Step) -> bool:
        """Whether a turn would have ended here if it had not been cut: see `Vm.step`."""
        vm = self.machine.vm
        if isinstance(step, Ended):
            return True
        if isinstance(step, Ran) and not isinstance(step.exit, PreemptionTimer):
            return True
        deadline = vm.timers.next_deadline()
        return deadline is not None and deadline <= vm.clock.now()

    async def _wait(self, deadline: int | None) -> None:
        """Returns when something happened, or when the next timer is due. What is repeated is not waited for."""
        now = self.machine.vm.clock.now()
        if self.history.is_past or (deadline is not None and deadline <= now):
            return
        with trio.move_on_after(float("inf") if deadline is None else (deadline - now) / _NANOSECONDS):
            await self._activity.wait()
        self._activity = trio.Event()

    async def _checkpoint(self) -> None:
        if time.perf_counter() - self._last_checkpoint > _CHECKPOINT_EVERY:
            await trio.lowlevel.checkpoint()
            self._last_checkpoint = time.perf_counter()
