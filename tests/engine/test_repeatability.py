"""Counted runs: the same whatever the slices are, and whether pages were there before or not."""

from collections.abc import Callable

import attrs
import pytest

from kev.addressing import Gpa
from kev.engine.base import Budget
from kev.guests.images import open_image
from kev.machine.builder import MachineOptions
from kev.machine.exit_costs import CURRENT, EXIT_COSTS
from kev.machine.launcher import prepare
from kev.machine.vm import Vm


@attrs.frozen
class Run:
    instructions: int
    time: int
    output: bytes
    charged: int
    """Nanoseconds of its exits."""


def run(slice_length: int, before: Callable[[Vm], None] = lambda vm: None) -> Run:
    output = bytearray()
    with open_image("gKeOS") as (source, _):
        vm = prepare(source, output=output.extend, options=MachineOptions(virtual_time=True, boot_time=0)).vm
        before(vm)
        while vm.ending is None:
            vm.run(vm.vcpus[0], Budget(instructions=slice_length))
        vm.engine.close()
    charged = sum(cost * vm.exits.get(kind, 0) for kind, cost in EXIT_COSTS[CURRENT].items())
    return Run(vm.vcpus[0].state.instructions, vm.clock.now(), bytes(output), charged)


def load_all(vm: Vm) -> None:
    for region in (range(0x1000), range(vm.pager.image.start, vm.pager.image.end), range(0x9F000, 0xA0000)):
        for page in range(region.start & ~0xFFF, region.stop, 0x1000):
            assert vm.pager.try_load_page(Gpa(page))


@pytest.fixture(scope="module")
def reference() -> Run:
    return run(1_000_000)


@pytest.mark.slow
@pytest.mark.parametrize("slice_length", [1, 7, 1000])
def test_the_length_of_slices_changes_nothing(slice_length: int, reference: Run) -> None:
    assert run(slice_length) == reference


def test_an_eagerly_loaded_guest_executes_as_many_instructions(reference: Run) -> None:
    assert run(1_000_000, load_all) == reference


def test_virtual_time_is_a_nanosecond_an_instruction_and_what_exits_take(reference: Run) -> None:
    assert reference.charged
    assert reference.time == reference.instructions + reference.charged
