"""Runs of which only the end counts, in a worker."""

from collections.abc import Callable
from functools import partial
from typing import Any

import trio

from kev.machine.api import opened, wanted_machine
from kev.machine.driving import drive
from kev.machine.ending import Ending
from kev.machine.launcher import begin
from kev.machine.runtime import HostTurn
from kev.machine.ungrouped import ungrouped
from kev.spec.machine_spec import MachineSpec


async def run_once(spec: MachineSpec, printed: Callable[[bytes], object], turn: HostTurn) -> tuple[Ending, dict[str, Any]]:
    """How the machine ended, and its report. `turn`, which lasts, is what it computes in. KevError if it cannot be made.

    Nothing can be asked of the machine meanwhile: so a run that is soon over needs none of the tasks that others have.
    """
    with opened(wanted_machine(spec, {})) as machine:
        machine.vm.console.output.subscribe(printed)
        machine.vm.expects_input = True
        if spec.timeout is not None:
            machine.set_time_limit(spec.timeout)
        policy_has_run = begin(machine)
        if machine.vm.ending is None:
            with ungrouped():
                async with trio.open_nursery() as nursery:
                    await nursery.start(partial(drive, machine, timeout=spec.timeout, policy_has_run=policy_has_run))
                    if machine.runtime is not None:
                        machine.runtime.turn = turn
        machine.note_end()
        assert machine.ending is not None
        return machine.ending, machine.report().as_dict()
