"""Drives a machine without trio: the vCPUs, a time limit, and input that nobody types at a terminal.

Importing trio takes longer than many a kernel takes to boot. `kev.machine.driving` can do more; what both can do, they do alike.
"""

import os
import select
import time
from contextlib import suppress
from typing import Final

from kev.machine.at_once import finished
from kev.machine.closing_input import LOOK_EVERY, ClosedInput
from kev.machine.ending import Ending
from kev.machine.machine import Machine
from kev.machine.step import Ended, Idle, NeedsPage, Stopped

_LOOK_AT_INPUT_EVERY: Final = 0.005  # seconds
_READ_SIZE: Final = 4096
_LARGEST_BACKLOG: Final = 4096
"""While as many bytes wait for the guest, no more are read."""
_NANOSECONDS: Final = 1_000_000_000


def suffices(machine: Machine, input_descriptor: int | None) -> bool:
    """Whether a machine can be driven so: nobody types, watches for stops, or has to wait for pages."""
    vm = machine.vm
    if machine.seed is not None or vm.virtual_time or vm.pager.waits or machine.stopped:
        return False
    return hasattr(select, "poll") and (input_descriptor is None or not os.isatty(input_descriptor))


class PlainLoop:
    """Runs one machine to its end, in this thread. What the paging policy does before a run must be done."""

    __slots__ = (
        "_closed",
        "_descriptor",
        "_found",
        "_has_room",
        "_looked",
        "_machine",
        "_next_look",
        "_poll",
        "_polls_input",
        "_timeout",
        "_woken",
    )

    def __init__(self, machine: Machine, timeout: float | None, input_descriptor: int | None) -> None:
        """`timeout` is in seconds of the host's clock; what comes from `input_descriptor` goes to COM1 or to the keyboard."""
        self._machine: Final = machine
        self._timeout: Final = timeout
        self._descriptor = input_descriptor
        """None when there is no more."""
        self._found = False
        """Some came."""
        self._has_room = True
        """The guest is not behind with its input."""
        self._closed: ClosedInput | None = None
        self._next_look = 0.0
        """When to look at that."""
        self._looked = 0.0
        """When it was last looked whether there is input."""
        self._poll: Final = select.poll()
        self._polls_input = False
        self._woken = -1
        """Readable when `Machine.wake` was called."""

    def run(self) -> None:
        """Returns when the machine has ended."""
        machine = self._machine
        self._woken, wake = os.pipe()
        try:
            os.set_blocking(self._woken, False)
            os.set_blocking(wake, False)
            self._poll.register(self._woken, select.POLLIN)
            machine.wake = lambda: _write(wake)
            machine.vm.expects_input = self._descriptor is not None
            self._step_to_end()
        finally:
            machine.wake = None
            if self._closed is not None:
                self._closed.forget()
            os.close(self._woken)
            os.close(wake)

    def _step_to_end(self) -> None:
        machine, clock = self._machine, time.perf_counter
        vm, scheduler = machine.vm, machine.scheduler
        while True:
            step = vm.step(scheduler)
            kind = type(step)
            if kind is Idle:
                self._wait(step.deadline)  # type: ignore[union-attr]
            elif kind is Ended:
                return
            elif kind is Stopped:
                machine.note_stop()
            elif kind is NeedsPage:
                finished(vm.load_page(vm.vcpus[step.vcpu]))  # type: ignore[union-attr]
            now = clock()
            if now - self._looked >= _LOOK_AT_INPUT_EVERY:
                self._look(now, 0)

    def _wait(self, deadline: int | None) -> None:
        """Returns when something happened, or when the next timer is due."""
        vm, now = self._machine.vm, time.perf_counter()
        left = [] if deadline is None else [(deadline - vm.clock.now()) / _NANOSECONDS]
        if self._timeout is not None:
            assert self._machine.time_left is not None
            left.append(self._machine.time_left)
        if self._closed is not None:
            left.append(self._next_look - now)
        if not left or min(left) > 0:
            self._look(now, min(left) if left else None)

    def _look(self, now: float, seconds: float | None) -> None:
        """Takes what input there is, waiting so long for some, and does what the host's clock says."""
        machine = self._machine
        self._let_poll_input(self._descriptor is not None and self._has_room)
        # poll counts in whole milliseconds, and does not return before: as trio's own waits.
        events = self._poll.poll(None if seconds is None else seconds * 1e3)
        for descriptor, _ in events:
            if descriptor == self._woken:
                _drain(descriptor)
            else:
                self._take_input()
        self._looked = time.perf_counter() if seconds != 0 else now
        if self._timeout is not None and machine.time_left == 0:
            machine.end(Ending.timed_out(self._timeout))
        if self._closed is not None and self._looked >= self._next_look:
            self._next_look += LOOK_EVERY
            if self._closed.look():
                self._closed.forget()
                self._closed = None

    def _let_poll_input(self, wanted: bool) -> None:
        if wanted is self._polls_input or self._descriptor is None:
            return
        self._polls_input = wanted
        if wanted:
            self._poll.register(self._descriptor, select.POLLIN)
        else:
            self._poll.unregister(self._descriptor)

    def _take_input(self) -> None:
        assert self._descriptor is not None
        line = self._machine.vm.input_line
        assert line is not None
        try:
            data = os.read(self._descriptor, _READ_SIZE)
        except OSError:
            data = b""
        if not data:
            self._end_input()
            return
        self._found = True
        line.receive(data)
        if line.backlog >= _LARGEST_BACKLOG:
            self._wait_for_room()

    def _end_input(self) -> None:
        machine = self._machine
        self._let_poll_input(False)
        self._descriptor = None
        machine.vm.expects_input = False
        if not self._found:
            machine.type_own_input()
        self._closed, self._next_look = ClosedInput(machine), time.perf_counter() + LOOK_EVERY

    def _wait_for_room(self) -> None:
        """No more is read until the guest has taken enough, and none is expected before."""
        vm = self._machine.vm
        line = vm.input_line
        assert line is not None

        def look() -> None:
            if line.backlog < _LARGEST_BACKLOG:
                self._has_room = vm.expects_input = True
                forget()

        self._has_room = vm.expects_input = False
        forget = line.taken.subscribe(look)


def _write(descriptor: int) -> None:
    with suppress(BlockingIOError):  # full of what says the same
        os.write(descriptor, b"\0")


def _drain(descriptor: int) -> None:
    with suppress(BlockingIOError):
        while os.read(descriptor, _READ_SIZE):
            pass
