"""How fast guest code runs that does not exit, on kev and on QEMU: instructions per second, on registers alone."""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from bench.guest_constants import read_constant
from bench.machines import QEMU, QEMU_MISSING, launched, run_on_kev, run_on_qemu
from bench.measurement import Measurement, Result, Skipped, repeat
from bench.transcript import Transcript
from kev.engine.base import Budget
from kev.machine.builder import MachineOptions

TITLE: Final = "guest speed"
_LOOP: Final = "loop"
_PARALLEL: Final = "parallel"
_ROUNDS: Final = 5
_VCPUS: Final = (1, 2, 4)
_UNIT: Final = "M instr/s"
_COUNTED_INSTRUCTIONS: Final = 20_000_000
_SLICE_LENGTHS: Final = (20_000, _COUNTED_INSTRUCTIONS)


def measure(quick: bool) -> list[Result]:
    actions = _actions_on_kev() | (_actions_on_qemu() if QEMU is not None else {})
    samples = repeat(_ROUNDS, quick, lambda: {name: action() for name, action in actions.items()})
    results: list[Result] = [Measurement(name, _UNIT, values) for name, values in samples.items()]
    return results if QEMU is not None else [*results, Skipped("QEMU", QEMU_MISSING)]


def _actions_on_kev() -> dict[str, Callable[[], float]]:
    return {
        "kev": partial(_speed, run_on_kev),
        **{f"kev, counted in slices of {length:,}": partial(_counted_speed, length) for length in _SLICE_LENGTHS},
        **{f"kev, number of vCPUs that share the work: {vcpus}": partial(_total_speed, run_on_kev, vcpus) for vcpus in _VCPUS},
    }


def _actions_on_qemu() -> dict[str, Callable[[], float]]:
    return {
        "QEMU": partial(_speed, run_on_qemu),
        **{f"QEMU, number of vCPUs that share the work: {vcpus}": partial(_total_speed, run_on_qemu, vcpus) for vcpus in _VCPUS},
    }


def _speed(run: Callable[[str], Transcript]) -> float:
    return read_constant(_LOOP, "instructions") / run(_LOOP).seconds_between(b"<", b">") / 1e6


def _total_speed(run: Callable[[str, int], Transcript], vcpus: int) -> float:
    """Of all vCPUs together."""
    (line,) = run(_PARALLEL, vcpus).timed_lines()
    return line.count / line.seconds / 1e6


def _counted_speed(slice_length: int) -> float:
    """Of the loop's first instructions, in slices of exactly so many."""
    budget = Budget(instructions=slice_length)
    with launched(_LOOP, MachineOptions(virtual_time=True, boot_time=0)) as machine:
        vm = machine.vm
        vcpu = vm.vcpus[0]
        vm.run(vcpu, Budget(instructions=slice_length))
        before, began = vcpu.state.instructions, time.perf_counter()
        while vcpu.state.instructions - before < _COUNTED_INSTRUCTIONS:
            vm.run(vcpu, budget)
        seconds = time.perf_counter() - began
        vm.engine.close()
        vm.pager.close()
    return (vcpu.state.instructions - before) / seconds / 1e6
