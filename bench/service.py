"""What it costs that each machine of the service has a process: throughput, time, memory; and whether anything is left of one."""

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import trio

from bench.measurement import Measurement, Result, Skipped, repeat
from bench.processes import own_memory, proportional_memory, with_descendants
from bench.processor_time import ProcessorTime
from bench.service_client import as_run, over_http, run_many
from bench.service_load import User, Waiter, forking_processes, in_homes, plain_processes, seconds_of
from bench.service_process import serving
from kev.addressing import MIB
from kev.service.home import Home, Homes
from kev.service.in_process import InProcessHomes
from kev.service.parking.homes import parked_homes
from kev.service.workers.fork_server_process import ForkServerProcess
from kev.service.workers.homes import WorkerHomes, worker_homes
from kev.service.workers.used import Reuse
from kev.spec.machine_spec import MachineSpec

TITLE: Final = "machines in processes of their own"
_ROUNDS: Final = 3
_GUEST: Final = "gKeOS"
_MACHINES: Final = 200
_AT_ONCE: Final = 16
_QUICK: Final = 20
_PROCESSES: Final = 2
_THROUGHPUT: Final = 0.8
_PLAIN: Final = f"kev.launch in {_PROCESSES} processes"
_WAITING: Final = MachineSpec("echo")
_PROMPT: Final = b"echo> "
_PAUSED: Final = 1000
_PAUSED_LIMIT: Final = 1024.0  # MiB
_BEFORE_PARKING: Final = 20
_KILLS: Final = 100
_BESIDE: Final = 4
"""Machines that must not notice."""


def measure(quick: bool) -> list[Result]:
    if not Path("/proc/self/smaps_rollup").exists():
        return [Skipped("all", "memory of processes is read from Linux's /proc")]
    with ForkServerProcess() as process:
        return [
            *_throughput(quick, process),
            *trio.run(_opening, quick, process),
            *trio.run(_paused, _QUICK if quick else _PAUSED, process),
            *trio.run(_killed, _QUICK if quick else _KILLS, process),
        ]


# Throughput.


def _throughput(quick: bool, process: ForkServerProcess) -> list[Result]:
    machines = _QUICK if quick else _MACHINES
    with ExitStack() as stack:
        plain = stack.enter_context(plain_processes(_GUEST, _PROCESSES))
        forking = stack.enter_context(forking_processes(_GUEST, _PROCESSES))
        served, service = stack.enter_context(serving())
        fresh, _ = stack.enter_context(serving("--reuse-workers", "0"))
        kinds: dict[str, Callable[[int], float]] = {
            _PLAIN: plain,
            f"kev.launch in a process for each machine, {_PROCESSES} at once": forking,
            f"in homes, {_AT_ONCE} at once": partial(_seconds_in_homes, process, 0),
            f"in homes that are used again, {_AT_ONCE} at once": partial(_seconds_in_homes, process, _AT_ONCE),
            f"over HTTP, a request for all, {_PROCESSES} at once": partial(_seconds_of_many, served, _PROCESSES),
            f"over HTTP, a request for all, {_AT_ONCE} at once": partial(_seconds_of_many, served, _AT_ONCE),
            f"over HTTP, a request for each run, {_AT_ONCE} at once": partial(_seconds_of, as_run(served, _GUEST)),
            f"over HTTP, four requests for each, {_AT_ONCE} at once": partial(_seconds_of, over_http(served, _GUEST)),
            f"over HTTP, a request for each, --reuse-workers 0, {_AT_ONCE} at once": partial(_seconds_of, as_run(fresh, _GUEST)),
        }
        costs: dict[str, list[float]] = {}
        samples = repeat(
            _ROUNDS, quick, lambda: {name: machines / _noted(run, machines, name, service, costs) for name, run in kinds.items()}
        )
    speeds = [Measurement(f"{_GUEST}: {name}", "machines/s", values) for name, values in samples.items()]
    shares = [_share(name, values, samples[_PLAIN]) for name, values in samples.items() if name != _PLAIN]
    # The first round is not counted, as in `repeat`.
    return [*speeds, *shares, *(Measurement(name, "ms", values[-_ROUNDS:]) for name, values in costs.items())]


def _noted(run: Callable[[int], float], machines: int, name: str, service: int, costs: dict[str, list[float]]) -> float:
    """What `run` takes. What it takes of the processors that the machines share with client and service is noted in `costs`."""
    client, served = time.process_time(), ProcessorTime.of([service])
    seconds = run(machines)
    if "over HTTP" in name:
        costs.setdefault(f"processor time for each, of the client: {name}", []).append(
            (time.process_time() - client) / machines * 1e3
        )
        if "--reuse" not in name:
            worked = ProcessorTime.of([service]).since(served).worked
            costs.setdefault(f"of the service, without workers: {name}", []).append(worked / machines * 1e3)
    return seconds


def _share(name: str, values: list[float], plain: list[float]) -> Measurement:
    ratios = [value / of for value, of in zip(values, plain, strict=True)]
    return Measurement(
        f"of the first: {name}", "", ratios, floor=_THROUGHPUT if "a request for" in name and "--reuse" not in name else None
    )


def _seconds_in_homes(process: ForkServerProcess, reuse: int, machines: int) -> float:
    async def run() -> float:
        async with worker_homes(forked_from=process, reuse=Reuse(reuse)) as homes:
            user = in_homes(homes, MachineSpec(_GUEST))
            await seconds_of(user, reuse, _AT_ONCE)
            return await seconds_of(user, machines, _AT_ONCE)

    return trio.run(run)


def _seconds_of_many(socket: str, at_once: int, machines: int) -> float:
    began = time.perf_counter()
    trio.run(run_many, socket, _GUEST, machines, at_once)
    return time.perf_counter() - began


def _seconds_of(user: User, machines: int) -> float:
    return trio.run(seconds_of, user, machines, _AT_ONCE)


# Time and memory of one.


async def _opening(quick: bool, process: ForkServerProcess) -> list[Result]:
    times: dict[str, list[float]] = {"in a worker that waits": [], "in a worker that is forked": [], "in this process": []}
    rounds = 1 if quick else 21
    async with worker_homes(ready=0, forked_from=process) as forked, worker_homes(ready=1, forked_from=process) as ready:
        async with trio.open_nursery() as nursery:
            kinds: dict[str, Homes] = dict(zip(times, (ready, forked, InProcessHomes(nursery)), strict=True))
            for number in range(1 + rounds):
                for name, homes in kinds.items():
                    await ready.until_ready()
                    milliseconds = await _milliseconds_to_run(homes)
                    if number or quick:
                        times[name].append(milliseconds)
            nursery.cancel_scope.cancel()
        own = [own_memory(home.process) / MIB for home in await _waiting(ready, 3)]
    return [
        *(Measurement(f"from open to running, {name}", "ms", values) for name, values in times.items()),
        Measurement("a paused worker, beside what is shared", "MiB", own),
    ]


async def _milliseconds_to_run(homes: Homes) -> float:
    began = time.perf_counter()
    home = await homes.open(MachineSpec(_GUEST), Waiter())
    await home.start()
    milliseconds = (time.perf_counter() - began) * 1000
    await home.aclose()
    return milliseconds


async def _waiting(homes: Homes, count: int) -> list[Home]:
    """Machines that wait for input, and are paused."""
    return [await _waiting_one(homes) for _ in range(count)]


async def _waiting_one(homes: Homes) -> Home:
    waiter = Waiter(_PROMPT)
    home = await homes.open(_WAITING, waiter)
    await home.start()
    await waiter.has_printed.wait()
    await home.pause()
    return home


# Many that are paused.


async def _paused(count: int, process: ForkServerProcess) -> list[Result]:
    with TemporaryDirectory() as folder:
        async with worker_homes(forked_from=process) as homes, parked_homes(homes, Path(folder), after=1e6) as parking:
            machines: list[Home] = []
            while len(machines) < count:
                machines += await _waiting(parking, min(_BEFORE_PARKING, count - len(machines)))
                await parking.park()
            memory = proportional_memory(with_descendants(os.getpid())) / MIB
            files = sum(file.stat().st_size for file in Path(folder).iterdir()) / MIB / count  # noqa: ASYNC240
            back = [await _milliseconds_to_come_back(machine) for machine in machines[:_BEFORE_PARKING]]
            for machine in machines:
                await machine.aclose()
    return [
        Measurement(f"{count} paused machines, all processes together", "MiB", [memory], limit=_PAUSED_LIMIT),
        Measurement("a parked machine's file", "MiB", [files]),
        Measurement("a parked machine is resumed", "ms", back),
    ]


async def _milliseconds_to_come_back(machine: Home) -> float:
    began = time.perf_counter()
    await machine.resume()
    milliseconds = (time.perf_counter() - began) * 1000
    await machine.pause()
    return milliseconds


# Many that are killed.


async def _killed(count: int, process: ForkServerProcess) -> list[Result]:
    chance = random.Random(1)
    descriptors, processes = len(os.listdir("/proc/self/fd")), len(with_descendants(os.getpid()))
    async with worker_homes(forked_from=process) as homes:
        beside = [Waiter(_PROMPT) for _ in range(_BESIDE)]
        others = [await homes.open(_WAITING, waiter) for waiter in beside]
        for other in others:
            await other.start()
        before = 0
        for number in range(count):
            if number == count // 2:
                before = own_memory(os.getpid())
            await _kill_one(homes, chance.random())
        grown = (own_memory(os.getpid()) - before) / (count - count // 2) / 1024
        unnoticed = sum([await _still_runs(other) for other in others])
        for other in others:
            await other.aclose()
    with trio.move_on_after(5):
        while len(with_descendants(os.getpid())) != processes:  # noqa: ASYNC110
            await trio.sleep(0.01)
    return [
        Measurement(
            f"descriptors left of {count} workers that were killed", "", [len(os.listdir("/proc/self/fd")) - descriptors], limit=0
        ),
        Measurement("processes left", "", [len(with_descendants(os.getpid())) - processes], limit=0),
        Measurement("memory that the service grows for each", "KiB", [grown]),
        Measurement("other machines that have noticed", "", [_BESIDE - unnoticed], limit=0),
    ]


async def _kill_one(homes: WorkerHomes, when: float) -> None:
    """At any time of its run, which takes some 30 ms."""
    waiter = Waiter()
    home = await homes.open(MachineSpec(_GUEST), waiter)
    await home.start()
    await trio.sleep(when * 0.03)
    os.kill(home.process, signal.SIGKILL)
    await waiter.over.wait()
    await home.aclose()


async def _still_runs(home: Home) -> bool:
    before = await home.registers()
    await home.send(b"x\n")
    return home.status.state == "running" and len(before) == 1
