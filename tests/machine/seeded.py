"""Guests of the root file system, stepped by a seed's schedule up to wherever a test wants."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from kev.addressing import Gpa
from kev.guests.disk import drives_of
from kev.guests.images import open_image
from kev.machine.builder import MachineOptions
from kev.machine.launcher import prepare
from kev.machine.machine import Machine
from kev.machine.saved import save_registers
from kev.pager.pages import PageState
from kev.state import State
from tests.machine.restoring import run

GUESTS = {
    "bootsector": 1,
    "events16": 1,
    "events32": 1,
    "events": 1,
    "user": 1,
    "timer": 1,
    "smp": 4,
    "lost-update": 2,
    "hypercalls": 1,
    "block": 1,
    "virtio-pci": 1,
}


class End(NamedTuple):
    """All that can be told of a run that is over."""

    ending: str
    output: bytes
    time: int
    registers: list[State]
    memory: dict[int, bytes]


@contextmanager
def machine_of(name: str, output: bytearray, seed: int = 1) -> Iterator[Machine]:
    with open_image(name) as (source, guest):
        assert guest is not None
        options = MachineOptions(vcpus=GUESTS.get(name, 1), drives=drives_of(guest))
        machine = prepare(source, memory=guest.memory_mib << 20, options=options, seed=seed, output=output.extend)
        try:
            yield machine
        finally:
            machine.close()


def pages(machine: Machine) -> dict[int, bytes]:
    pager = machine.vm.pager
    present = (page for run in pager.pages.runs(PageState.PRESENT) for page in run)
    return {page: bytes(pager.memory.page(hpa)) for page in present if (hpa := pager.gpa2hpa(Gpa(page))) is not None}


def end(machine: Machine, output: bytearray) -> End:
    run(machine)
    machine.note_end()
    vm = machine.vm
    registers = [save_registers(vcpu.state) for vcpu in vm.vcpus]
    return End(str(vm.ending), bytes(output), vm.clock.now(), registers, pages(machine))


def stop_at(machine: Machine, instructions: int) -> None:
    machine.vm.stop_at = instructions
    run(machine)
