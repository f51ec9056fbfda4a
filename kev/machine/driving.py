"""Drives a machine in trio, with what belongs to a run: a time limit, input, and the paging policy beside it."""

import os
from typing import Final

import trio

from kev import log
from kev.machine.beside import forward_input, read_to_end, watch_for_timeout
from kev.machine.ending import Ending
from kev.machine.machine import Machine
from kev.machine.runtime import Runtime
from kev.machine.schedule import TurnScheduler
from kev.machine.ungrouped import ungrouped

_INPUT_SECONDS: Final = 2
"""How long the end of the input is waited for, in runs with a seed."""
_LARGEST_INPUT: Final = 1 << 20
"""Bytes of input in a run with a seed: what comes behind them is not there."""
_LOOK_EVERY: Final = 1.0  # seconds
_MANY_LOOKS: Final = 100
"""In that time: a guest that looks for input so often, and prints nothing, does nothing else."""


async def drive(
    machine: Machine,
    *,
    scheduler: TurnScheduler | None = None,
    timeout: float | None = None,
    input_descriptor: int | None = None,
    job_control: bool = False,
    policy_has_run: bool = False,
    paused: bool = False,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Runs a machine until it has ended, also if that is because the caller is cancelled.

    `timeout` is in seconds of the host's clock. What comes from `input_descriptor` goes to COM1 or to the keyboard; with a seed,
    all of it is there before the guest begins, unless a person types it. If nothing comes, the guest gets its own. `job_control`:
    this is the main thread, which gets the signals of the terminal. `policy_has_run`: what the paging policy does before a run is
    done. `paused`: it waits to be resumed first. Started when the machine can be talked to.
    """
    runtime = machine.runtime = Runtime(machine.vm, scheduler or machine.scheduler, machine.note_stop)
    try:
        with ungrouped():
            async with trio.open_nursery() as beside:
                if timeout is not None:
                    beside.start_soon(watch_for_timeout, machine.end, timeout, machine.time_left)
                machine.cancel = beside.cancel_scope.cancel
                machine.token = trio.lowlevel.current_trio_token()
                machine.start_beside = beside.start_soon
                if machine.vm.ending is not None:
                    """A signal came before there was anything to cancel: no input is waited for."""
                elif input_descriptor is not None and machine.seed is not None and not os.isatty(input_descriptor):
                    await _take_all_input(machine, input_descriptor)
                    beside.start_soon(_say_if_input_is_waited_for, machine)
                elif input_descriptor is not None:
                    beside.start_soon(_forward_input, machine, runtime, input_descriptor, job_control)
                if paused:
                    runtime.pause()
                task_status.started()
                if not policy_has_run:
                    await machine.load_ahead()
                    beside.start_soon(machine.policy.beside_run)
                # What is loaded ahead may have come to a limit: that is the end, also of a machine that waits to be resumed.
                if machine.vm.ending is None:
                    await runtime.run()
                beside.cancel_scope.cancel()
    finally:
        machine.runtime = machine.cancel = machine.token = machine.start_beside = None
        if machine.vm.ending is None:
            machine.vm.end(Ending.stopped())
        machine.note_end()


async def _take_all_input(machine: Machine, descriptor: int) -> None:
    """What the guest reads must not depend on when the host writes it."""
    assert machine.vm.input_line is not None
    with trio.move_on_after(_INPUT_SECONDS):
        found = await read_to_end(descriptor, _LARGEST_INPUT)
        machine.vm.input_line.receive(found or machine.own_input)
        return
    machine.type_own_input()
    must = f"with a seed it must have come to its end before the guest begins, within {_INPUT_SECONDS} s"
    _warn(machine, f"there is no input in this run: {must}")


async def _forward_input(machine: Machine, runtime: Runtime, descriptor: int, job_control: bool) -> None:
    vm = machine.vm
    assert vm.input_line is not None

    def expect_input(expected: bool) -> None:
        vm.expects_input = expected
        runtime.note_activity()

    found = await forward_input(descriptor, vm.input_line, machine.end, expect_input, job_control, machine.save_key)
    if not found and not machine.has_input:
        machine.type_own_input()
    await _say_if_input_is_waited_for(machine)


async def _say_if_input_is_waited_for(machine: Machine) -> None:
    """There will be no more input. Says so, once, if the guest does nothing but ask for some: it would do that for ever."""
    line, printed = machine.vm.input_line, 0

    def note_output(_data: bytes) -> None:
        nonlocal printed
        printed += 1

    assert line is not None
    forget = machine.vm.console.output.subscribe(note_output)
    try:
        while True:
            before = line.looks, printed
            await trio.sleep(_LOOK_EVERY)
            if line.looks - before[0] >= _MANY_LOOKS and printed == before[1] and not line.backlog:
                _warn(machine, "the input has ended, and the guest waits for more; --timeout SECONDS would end it")
                return
    finally:
        forget()


def _warn(machine: Machine, text: str) -> None:
    log.warning(text, image=machine.image)
    if machine.warn is not None:
        machine.warn(f"{machine.image}: {text}")
