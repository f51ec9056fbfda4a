"""Runs that are cancelled, interrupted or fail at each of their scheduling points: nothing is left of them."""

import contextlib
import gc
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

import kev
from kev.exits import Exit
from kev.machine.machine import Machine
from kev.machine.vcpu import Vcpu
from kev.machine.vm import VmObserver
from kev.pager.source import AsynchronousSource
from tests.cli.programs import kernel
from tests.pager.sources import BytesSource

IMAGE = kernel(bytes.fromhex("b078 e6e9 a000102000 a000202000 e6e9 a000302000 b015 e6f4 f4").ljust(0x1800, b"\0"))
"""Prints, and loads from three pages, of which the image has one; then it ends with 43."""
WISHES = [{}, {"seed": 1}, {"vcpus": 2}, {"paging": "eager"}, {"paging": "around=8"}]


class Slow(AsynchronousSource):
    """Every page has to be awaited: of those at the same time, the later come first. `fails` is the read that raises, from 1 on."""

    def __init__(self, fails: int = 0) -> None:
        super().__init__(BytesSource(IMAGE), at_hand=True)
        self.reads = 0
        self.fails = fails

    async def read_into(self, offset: int, buffer: memoryview, /) -> int:
        self.reads += 1
        for _ in range(3 if self.reads % 2 else 1):
            await trio.lowlevel.checkpoint()
        if self.reads == self.fails:
            raise ValueError("no such luck")
        return self.blocking.read_into(offset, buffer)


class AtStep(trio.abc.Instrument):
    """Calls `act` before the step of a task with the number `step`, from 0 on."""

    def __init__(self, step: int, act: Callable[[], object]) -> None:
        self.step = step
        self.act = act

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.step -= 1
        if self.step == -1:
            self.act()

    @property
    def has_acted(self) -> bool:
        return self.step < 0


class FailsAt(VmObserver):
    """Raises in the exit with the number `exit`, from 0 on: where devices are, and whoever watches them."""

    def __init__(self, number: int) -> None:
        self.number = number

    def exit_began(self, vcpu: Vcpu, exit: Exit) -> None:
        self.number -= 1
        if self.number == -1:
            raise ZeroDivisionError


def left() -> tuple[list[str], list[str]]:
    """Threads, and what is open."""
    threads = sorted(thread.name for thread in threading.enumerate())
    return threads, sorted(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else []


def machines() -> list[Machine]:
    for _ in range(2):  # what is collected may let go of more
        gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, Machine)]


def nothing_is_left(attempt: Callable[[int], bool]) -> None:
    """Makes attempts from number 0 on, until one returns False: it has come to an end by itself."""
    attempt(0)
    attempt(1_000_000)  # what a process opens once is open, then
    known = machines()
    before = left()
    number = 0
    while attempt(number):
        number += 1
    assert number > 0
    new = [machine for machine in machines() if not any(machine is other for other in known)]
    assert left() == before
    assert len(new) <= 1, "a process may keep its last one"


async def held(wishes: dict[str, object]) -> None:
    async with kev.start(Slow(), **wishes) as machine:  # type: ignore[arg-type]
        assert (await machine.wait()).exit_code == 43


@pytest.mark.parametrize("wishes", WISHES)
def test_a_machine_that_is_cancelled_at_any_step_leaves_nothing(wishes: dict[str, object]) -> None:
    async def run(scope: trio.CancelScope) -> None:
        with scope:
            await held(wishes)
        assert not trio.lowlevel.current_task().child_nurseries

    def attempt(step: int) -> bool:
        scope = trio.CancelScope()
        at_step = AtStep(step, scope.cancel)
        trio.run(run, scope, instruments=[at_step])
        return at_step.has_acted

    nothing_is_left(attempt)


@pytest.mark.parametrize("wishes", WISHES)
def test_a_machine_that_is_interrupted_at_any_step_leaves_nothing(wishes: dict[str, object]) -> None:
    def attempt(step: int) -> bool:
        at_step = AtStep(step, lambda: signal.raise_signal(signal.SIGINT))
        with contextlib.suppress(KeyboardInterrupt):
            trio.run(held, wishes, instruments=[at_step])
        return at_step.has_acted

    nothing_is_left(attempt)


@pytest.mark.parametrize("wishes", WISHES)
def test_a_read_that_fails_whichever_it_is_leaves_nothing(wishes: dict[str, object]) -> None:
    def attempt(number: int) -> bool:
        source = Slow(fails=number + 1)
        try:
            message = kev.launch(source, **wishes).ending.message  # type: ignore[arg-type]
        except kev.KevError as error:  # what is loaded before the run begins
            message = str(error)
        failed = source.reads >= source.fails
        assert ("no such luck" in message) == failed
        return failed

    nothing_is_left(attempt)


@pytest.mark.parametrize("wishes", WISHES)
def test_a_callback_that_raises_in_any_exit_leaves_nothing(wishes: dict[str, object]) -> None:
    async def run(observer: FailsAt) -> None:
        async with kev.start(Slow(), paused=True, **wishes) as machine:  # type: ignore[arg-type]
            machine.observe(observer)
            await machine.resume()
            await machine.wait()

    def attempt(number: int) -> bool:
        observer = FailsAt(number)
        try:
            trio.run(run, observer)
        except ZeroDivisionError:
            assert observer.number < 0
        return observer.number < 0

    nothing_is_left(attempt)


@pytest.mark.parametrize("wishes", WISHES)
def test_an_output_that_raises_whenever_it_does_leaves_nothing(wishes: dict[str, object]) -> None:
    def attempt(number: int) -> bool:
        calls = 0

        def refuse(_data: bytes) -> None:
            nonlocal calls
            calls += 1
            if calls > number:
                raise ZeroDivisionError

        with contextlib.suppress(ZeroDivisionError):
            kev.launch(Slow(), output=refuse, **wishes)  # type: ignore[arg-type]
        return calls > number

    nothing_is_left(attempt)
