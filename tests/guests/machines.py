"""Runs guests on a machine whose schedule and time are the test's own."""

from functools import partial

import attrs
import trio

from kev.guests.images import open_image
from kev.machine.builder import MachineOptions
from kev.machine.driving import drive
from kev.machine.ending import Ending
from kev.machine.launcher import prepare
from kev.machine.schedule import TurnScheduler

_ENOUGH_SECONDS = 120
_BOOT_TIME = 1_700_000_000


@attrs.frozen
class Run:
    ending: Ending
    instructions: int
    output: str


def run_guest(name: str, scheduler: TurnScheduler) -> Run:
    """Runs a guest of the root file system in virtual time."""
    output = bytearray()
    with open_image(name) as (source, guest):
        assert guest is not None
        options = MachineOptions(vcpus=guest.smp, virtual_time=True, boot_time=_BOOT_TIME)
        machine = prepare(source, memory=guest.memory_mib << 20, options=options, output=output.extend)
        vm = machine.vm
        try:
            trio.run(partial(drive, machine, scheduler=scheduler, timeout=_ENOUGH_SECONDS))
        finally:
            machine.close()
    assert vm.ending is not None
    return Run(vm.ending, sum(vcpu.state.instructions for vcpu in vm.vcpus), output.decode())
