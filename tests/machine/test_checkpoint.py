"""A machine goes back to a checkpoint, and does the same again: memory, registers, exits, output, to the last bit."""

from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kev.addressing import Gpa, Gva
from kev.guests.images import open_image
from kev.machine.api import opened, wanted_machine
from kev.machine.checkpoint import Checkpoint
from kev.machine.errors import MachineError
from kev.machine.launcher import prepare
from kev.machine.machine import Machine
from kev.machine.saved import save_registers
from kev.state import State
from tests.machine.restoring import run
from tests.machine.seeded import GUESTS, machine_of, pages, stop_at


class Everything(NamedTuple):
    ending: str
    output: bytes
    time: int
    registers: list[State]
    memory: dict[int, bytes]
    devices: dict[str, State]
    exits: dict[str, int]
    statistics: tuple[int, ...]


def everything(machine: Machine, output: bytes) -> Everything:
    vm = machine.vm
    return Everything(
        str(vm.ending),
        output,
        vm.clock.now(),
        [save_registers(vcpu.state) for vcpu in vm.vcpus],
        pages(machine),
        vm.devices.save(),
        {kind.__name__: count for kind, count in vm.exits.items() if count},
        vm.pager.statistics.save(),
    )


def run_to_the_end(machine: Machine, output: bytearray) -> Everything:
    before = len(output)
    run(machine)
    machine.vm.console.flush()
    return everything(machine, bytes(output[before:]))


def is_as(found: Everything, before: Everything) -> bool:
    """The same, but for devices that were built since: they are as new."""
    return found._replace(devices={name: found.devices[name] for name in before.devices}) == before


def but_for_cut_turns(found: Everything) -> Everything:
    """A turn is cut in two where the guest writes to a page with code that was translated, which it may be by the second time."""
    return found._replace(exits={kind: count for kind, count in found.exits.items() if kind != "PreemptionTimer"})


UNINTERRUPTED: dict[str, tuple[Everything, int]] = {}


def uninterrupted(name: str) -> tuple[Everything, int]:
    if name not in UNINTERRUPTED:
        output = bytearray()
        with machine_of(name, output) as machine:
            UNINTERRUPTED[name] = run_to_the_end(machine, output), machine.vm.instructions
    return UNINTERRUPTED[name]


@pytest.mark.parametrize("name", GUESTS)
@settings(max_examples=8, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True))
@example(where=0.8261869608200739)
def test_it_goes_back_and_does_the_same_again(name: str, where: float) -> None:
    expected, instructions = uninterrupted(name)
    output = bytearray()
    with machine_of(name, output) as machine:
        stop_at(machine, max(int(instructions * where), 1))
        checkpoint = Checkpoint(machine.vm, machine.scheduler)
        before = everything(machine, bytes(output))
        first = run_to_the_end(machine, output)
        assert first._replace(output=before.output + first.output, exits={}) == expected._replace(exits={})
        for _ in range(2):
            checkpoint.rewind()
            assert is_as(everything(machine, before.output), before)
            assert but_for_cut_turns(run_to_the_end(machine, output)) == but_for_cut_turns(first)


@settings(max_examples=20, deadline=None)
@given(moves=st.lists(st.tuples(st.sampled_from(["run", "take", "rewind"]), st.floats(0, 1, exclude_max=True)), max_size=12))
def test_checkpoints_may_be_gone_back_to_in_any_order(moves: list[tuple[str, float]]) -> None:
    _, instructions = uninterrupted("smp")
    output = bytearray()
    kept: list[tuple[Checkpoint, Everything]] = []
    with machine_of("smp", output) as machine:
        stop_at(machine, 1)
        for move, where in moves:
            if move == "run" and machine.vm.ending is None:
                stop_at(machine, machine.vm.instructions + 1 + int(where * instructions / 4))
            elif move == "take" and machine.vm.ending is None:
                kept.append((Checkpoint(machine.vm, machine.scheduler), everything(machine, b"")))
            elif move == "rewind" and kept:
                checkpoint, expected = kept[int(where * len(kept))]
                checkpoint.rewind()
                assert is_as(everything(machine, b""), expected)


@pytest.mark.parametrize("limit", [{"max_output": 20}, {"max_pages": 30}], ids=["output", "pages"])
def test_what_is_left_of_a_limit_goes_back_too(limit: dict[str, int]) -> None:
    with opened(wanted_machine("lost-update", {"seed": 1, "vcpus": 2, **limit})) as machine:
        machine.keep_output()
        checkpoint = Checkpoint(machine.vm, machine.scheduler)
        runs = []
        for _ in range(4):
            before = len(machine.output)
            run(machine)
            runs.append((str(machine.vm.ending), bytes(machine.output)[before:], machine.vm.pager.statistics.loads))
            checkpoint.rewind()
    assert runs == [runs[0]] * 4


def test_there_is_none_while_a_page_is_being_loaded() -> None:
    with machine_of("smp", bytearray()) as machine:
        stop_at(machine, 1)
        checkpoint = Checkpoint(machine.vm, machine.scheduler)

        async def never(_: memoryview) -> bool:
            raise AssertionError

        page = Gpa(0x2000000)
        machine.vm.pager.loaders.replace(page, lambda frame: never(frame))
        assert not machine.vm.pager.try_load_page(page)
        with pytest.raises(MachineError, match="while a page is being loaded"):
            Checkpoint(machine.vm, machine.scheduler)
        checkpoint.rewind()


def test_what_a_guest_has_executed_and_what_is_there_now_are_told_apart() -> None:
    """A guest that writes its own code, behind a checkpoint, executes what was there before when it has gone back."""
    _, instructions = uninterrupted("events")
    with machine_of("events", bytearray()) as machine:
        stop_at(machine, instructions // 2)
        checkpoint = Checkpoint(machine.vm, machine.scheduler)
        rip = Gva(machine.vm.vcpus[0].state.rip)
        code = machine.vm.memory.read_virtual(machine.vm.vcpus[0].state, rip, 16)
        machine.vm.memory.write_virtual(machine.vm.vcpus[0].state, rip, b"\xeb\xfe")
        stop_at(machine, instructions // 2 + 1000)
        assert machine.vm.vcpus[0].state.rip == rip
        checkpoint.rewind()
        assert machine.vm.memory.read_virtual(machine.vm.vcpus[0].state, rip, 16) == code
        run(machine)
        assert machine.vm.instructions == instructions


def test_what_a_guest_died_of_is_not_there_any_more_when_it_has_gone_back() -> None:
    with open_image("crash") as (source, _):
        machine = prepare(source, seed=1)
        machine.vm.stop_at = 20
        run(machine)
        checkpoint = Checkpoint(machine.vm, machine.scheduler)
        endings = set()
        for _ in range(3):
            run(machine)
            endings.add(str(machine.vm.ending))
            checkpoint.rewind()
        machine.close()
    (ending,) = endings
    assert "triple fault that began with exception 14 (page fault)" in ending
