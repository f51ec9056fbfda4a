"""Drives a machine in trio, with what belongs to a run: a time limit, input, and the paging policy beside it."""

import trio

from kev.machine.beside import forward_input, watch_for_timeout
from kev.machine.ending import Ending
from kev.machine.machine import Machine
from kev.machine.runtime import Runtime
from kev.machine.schedule import TurnScheduler
from kev.machine.ungrouped import ungrouped


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

    `timeout` is in seconds of the host's clock. What comes from `input_descriptor` goes to COM1 or to the keyboard; `job_control`:
    this is the main thread, which gets the signals of the terminal. `policy_has_run`: what the paging policy does before a run is
    done. `paused`: it waits to be resumed first. Started when the machine can be talked to.
    """
    runtime = machine.runtime = Runtime(machine.vm, scheduler or machine.scheduler, machine.note_stop)
    try:
        with ungrouped():
            async with trio.open_nursery() as beside:
                if timeout is not None:
                    beside.start_soon(watch_for_timeout, machine.end, timeout, machine.time_left)
                if input_descriptor is not None:
                    beside.start_soon(_forward_input, machine, runtime, input_descriptor, job_control)
                machine.cancel = beside.cancel_scope.cancel
                machine.token = trio.lowlevel.current_trio_token()
                if paused:
                    runtime.pause()
                task_status.started()
                if not policy_has_run:
                    await machine.load_ahead()
                    beside.start_soon(machine.policy.beside_run)
                await runtime.run()
                beside.cancel_scope.cancel()
    finally:
        machine.runtime = machine.cancel = machine.token = None
        if machine.vm.ending is None:
            machine.vm.end(Ending.stopped())
        machine.note_end()


async def _forward_input(machine: Machine, runtime: Runtime, descriptor: int, job_control: bool) -> None:
    vm = machine.vm
    assert vm.input_line is not None

    def expect_input(expected: bool) -> None:
        vm.expects_input = expected
        runtime.note_activity()

    await forward_input(descriptor, vm.input_line, machine.end, expect_input, job_control, machine.save_key)
