"""What a fork costs: in time, beside launching the same guest, and in memory; and what it costs to go back to a checkpoint."""

import gc
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

import kev
from bench.machines import free_machines
from bench.measurement import Measurement, Result, repeat
from kev.addressing import KIB, MIB, PAGE_SIZE
from kev.engine.base import Budget
from kev.machine.api import opened, wanted_machine
from kev.machine.checkpoint import Checkpoint
from kev.machine.forked import ForkedMachine
from kev.machine.machine import Machine, MachineState
from kev.machine.vm import Vm
from tests.machine.seeded import stop_at

TITLE: Final = "forks and checkpoints"
_ROUNDS: Final = 15
_FORKS_AT_ONCE: Final = 1_000
_FORKS_IN_A_ROW: Final = 10_000
_A_FEW: Final = 20
_BOOTED: Final = {"gKeOS": 300_000, "lost-update": 300}
"""Where each guest is forked: instructions from its start. gKeOS has found its devices and starts its subsystems."""
_TURN: Final = 500
_ONE: Final = Budget(instructions=1)
_FORK: Final = "fork of gKeOS to its next instruction"
_LAUNCH: Final = "launch of gKeOS, warm, to its first instruction"
_BOOT: Final = "launch of gKeOS, warm, to where it was forked"


def measure(quick: bool) -> list[Result]:
    held = _A_FEW if quick else _FORKS_AT_ONCE
    memory = trio.run(_memory_of_each, held)  # before anything has left memory behind that could be used again
    samples = repeat(_ROUNDS, quick, lambda: trio.run(_measure_once, held))
    by_boot = [fork / boot for fork, boot in zip(samples[_FORK], samples[_BOOT], strict=True)]
    return [
        Measurement(_FORK, "ms", samples[_FORK], limit=0.8),
        Measurement(_LAUNCH, "ms", samples[_LAUNCH]),
        Measurement(_BOOT, "ms", samples[_BOOT]),
        Measurement("  the fork by that", "times", by_boot, limit=0.1),
        Measurement(f"{held:,} forks, each to its next instruction", "s", samples["many"], limit=0.9),
        Measurement("  the same in time of the processor", "s", samples["many, processor"]),
        Measurement("  memory of each, at rest, beyond what it wrote", "KiB", [memory / KIB], limit=265),
        Measurement(f"back to a checkpoint, after {_TURN:,} instructions (gKeOS)", "µs", samples["gKeOS"]),
        Measurement("the same (lost-update)", "µs", samples["lost-update"], limit=200),
        *trio.run(_fork_in_a_row, _A_FEW if quick else _FORKS_IN_A_ROW),
    ]


async def _measure_once(count: int) -> dict[str, float]:
    async with _booted("gKeOS") as machine:
        await _seconds_to_fork(machine)  # the first builds what the others run on
        forks = [await _seconds_to_fork(machine) for _ in range(5)]
        many, processor = await _fork_many(machine, count)
    free_machines()
    return {
        _FORK: sorted(forks)[len(forks) // 2] * 1e3,
        _LAUNCH: _seconds_to_launch(0) * 1e3,
        _BOOT: _seconds_to_launch(_BOOTED["gKeOS"]) * 1e3,
        "many": many,
        "many, processor": processor,
        **{name: _seconds_to_go_back(name) * 1e6 for name in _BOOTED},
    }


@asynccontextmanager
async def _booted(guest: str) -> AsyncIterator[Machine]:
    """A guest that is paused where it is forked."""
    async with kev.start(guest, seed=1, paused=True) as machine:
        machine.vm.stop_at = _BOOTED[guest]
        await machine.resume()
        while machine.state is not MachineState.PAUSED:
            await trio.lowlevel.checkpoint()
        yield machine


async def _seconds_to_fork(machine: Machine) -> float:
    began = time.perf_counter()
    (fork,) = await machine.fork()
    _execute_one(fork.vm)
    seconds = time.perf_counter() - began
    fork.close()
    return seconds


async def _fork_many(machine: Machine, count: int) -> tuple[float, float]:
    """Seconds until all have executed an instruction, and those of the processor."""
    gc.collect()
    began, processor = time.perf_counter(), time.process_time()
    forks = await machine.fork(count)
    for fork in forks:
        _execute_one(fork.vm)
    seconds = time.perf_counter() - began, time.process_time() - processor
    for fork in forks:
        fork.close()
    return seconds


async def _memory_of_each(count: int) -> float:
    """Bytes that one of so many forks takes that have executed an instruction and are at rest, but for the pages it has written."""
    async with _booted("gKeOS") as machine:
        await _seconds_to_fork(machine)
        gc.collect()
        before = _resident()
        forks = await machine.fork(count)
        for fork in forks:
            _execute_one(fork.vm)
        gc.collect()
        written = sum(len(fork.own_pages) * PAGE_SIZE for fork in forks if isinstance(fork, ForkedMachine))
        return (_resident() - before - written) / count


def _seconds_to_launch(instructions: int) -> float:
    wanted = wanted_machine("gKeOS", {"seed": 1})
    began = time.perf_counter()
    with opened(wanted) as machine:
        if instructions:
            stop_at(machine, instructions)
        else:
            _execute_one(machine.vm)
        return time.perf_counter() - began


def _seconds_to_go_back(guest: str) -> float:
    """The median of some."""
    seconds = []
    with opened(wanted_machine(guest, {"seed": 1})) as machine:
        stop_at(machine, _BOOTED[guest])
        checkpoint = Checkpoint(machine.vm, machine.scheduler)
        for _ in range(_A_FEW):
            stop_at(machine, _BOOTED[guest] + _TURN)
            began = time.perf_counter()
            checkpoint.rewind()
            seconds.append(time.perf_counter() - began)
    return sorted(seconds)[len(seconds) // 2]


async def _fork_in_a_row(count: int) -> list[Result]:
    """Forks that run to their ends, one after the other. What the process holds after a tenth of them must not grow."""
    async with _booted("lost-update") as machine:
        before: dict[str, float] = {}
        for number in range(count):
            (fork,) = await machine.fork()
            await fork.resume()
            await fork.wait()
            fork.close()
            if number == count // 10:
                before = _held()
        after = _held()
    grown = {what: after[what] - before[what] for what in after}
    name = f"{count:,} forks and ends: "
    return [
        Measurement(f"{name}memory that grew", "MiB", [grown["memory"]], limit=8),
        Measurement(f"{name}descriptors that were added", "", [grown["descriptors"]], limit=0),
        Measurement(f"{name}threads that were added", "", [grown["threads"]], limit=0),
    ]


def _held() -> dict[str, Any]:
    gc.collect()
    return {"memory": _resident() / MIB, "descriptors": len(os.listdir("/proc/self/fd")), "threads": threading.active_count()}


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE_SIZE


def _execute_one(vm: Vm) -> None:
    vm.run(vm.vcpus[0], _ONE)
