"""Machines that are run by many at once: in homes of the service, and by `kev.launch` in plain processes."""

import gc
import multiprocessing
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from multiprocessing.pool import Pool
from typing import Final, TypeAlias

import trio

import kev
import kev.machine.api
from kev.service.home import Homes, Status
from kev.service.workers.fork_server import NICER
from kev.spec.machine_spec import MachineSpec

RunOne: TypeAlias = Callable[[], Awaitable[None]]
"""Starts a machine, runs it to its end and takes its report: through whatever stands in front of the machines."""
User: TypeAlias = Callable[[], AbstractAsyncContextManager[RunOne]]
"""One of those who do so at the same time, each again and again: by one connection, if it takes any."""

_COUNTED: Final = 8
"""Machines that each process runs before any is counted."""


class Waiter:
    """An observer that waits for the end, or for a text."""

    def __init__(self, text: bytes = b"") -> None:
        self._text: Final = text
        self._output: Final = bytearray()
        self.over: Final = trio.Event()
        self.has_printed: Final = trio.Event()

    def printed(self, data: bytes) -> None:
        if not self.has_printed.is_set():
            self._output.extend(data)
            if self._text in self._output:
                self.has_printed.set()

    def changed(self, status: Status) -> None:
        if status.state in ("ended", "lost"):
            self.over.set()


def in_homes(homes: Homes, spec: MachineSpec) -> User:
    async def run_one() -> None:
        waiter = Waiter()
        home = await homes.open(spec, waiter, client="bench")
        await home.start()
        await waiter.over.wait()
        report = await home.report()
        await home.aclose()
        if report["exit_code"] != 0:
            raise RuntimeError(f"{spec.image} has failed: {report}")

    return lambda: nullcontext(run_one)


async def seconds_of(user: User, count: int, at_once: int) -> float:
    """How long it takes so many users at once to run `count` machines."""
    left = iter(range(count))

    async def client() -> None:
        async with user() as run_one:
            for _ in left:
                await run_one()

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(client)
    return time.perf_counter() - began


@contextmanager
def plain_processes(image: str, count: int) -> Iterator[Callable[[int], float]]:
    """Processes that call `kev.launch`, one machine after the other, and have done so before. How long so many machines take.

    They yield to others as workers do.
    """
    with multiprocessing.get_context("spawn").Pool(count, os.nice, (NICER,)) as pool:
        _run_all(pool, _launch, image, count * _COUNTED)
        yield lambda machines: _run_all(pool, _launch, image, machines)


@contextmanager
def forking_processes(image: str, count: int) -> Iterator[Callable[[int], float]]:
    """The same by processes that are forked, one for each machine, from ones that have launched machines before."""
    with multiprocessing.get_context("spawn").Pool(count, _get_ready_to_fork, (image,)) as pool:
        _run_all(pool, _fork_and_launch, image, count * _COUNTED)
        yield lambda machines: _run_all(pool, _fork_and_launch, image, machines)


def _run_all(pool: Pool, run: Callable[[str], int], image: str, machines: int) -> float:
    began = time.perf_counter()
    for exit_code in pool.imap_unordered(run, [image] * machines):
        if exit_code != 0:
            raise RuntimeError(f"{image} has failed: {exit_code}")
    return time.perf_counter() - began


def _launch(image: str) -> int:
    exit_code: int = kev.launch(image).as_dict()["exit_code"]
    return exit_code


def _get_ready_to_fork(image: str) -> None:
    os.nice(NICER)
    for _ in range(_COUNTED):
        _launch(image)
    kev.machine.api.rest()
    gc.collect()
    gc.freeze()


def _fork_and_launch(image: str) -> int:
    process = os.fork()
    if process == 0:
        try:
            os._exit(_launch(image))
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
