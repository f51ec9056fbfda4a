"""Machines that are run by many at once: in homes of the service, and by `kev.launch` in plain processes."""

import multiprocessing
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from multiprocessing.pool import Pool
from typing import Final, TypeAlias

import trio

import kev
from kev.service.home import Homes, Status
from kev.spec.machine_spec import MachineSpec

RunOne: TypeAlias = Callable[[], Awaitable[None]]
"""Starts a machine, runs it to its end and takes its report: through whatever stands in front of the machines."""

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


def in_homes(homes: Homes, spec: MachineSpec) -> RunOne:
    async def run_one() -> None:
        waiter = Waiter()
        home = await homes.open(spec, waiter)
        await home.start()
        await waiter.over.wait()
        report = await home.report()
        await home.aclose()
        if report["exit_code"] != 0:
            raise RuntimeError(f"{spec.image} has failed: {report}")

    return run_one


async def seconds_of(run_one: RunOne, count: int, at_once: int) -> float:
    """How long it takes to run `count` machines, so many at once."""
    left = iter(range(count))

    async def client() -> None:
        for _ in left:
            await run_one()

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(client)
    return time.perf_counter() - began


@contextmanager
def plain_processes(image: str, count: int) -> Iterator[Callable[[int], float]]:
    """Processes that call `kev.launch`, one machine after the other, and have done so before. How long so many machines take."""
    with multiprocessing.get_context("spawn").Pool(count) as pool:
        _launch_all(pool, image, count * _COUNTED)
        yield lambda machines: _launch_all(pool, image, machines)


def _launch_all(pool: Pool, image: str, machines: int) -> float:
    began = time.perf_counter()
    for exit_code in pool.imap_unordered(_launch, [image] * machines):
        if exit_code != 0:
            raise RuntimeError(f"{image} has failed: {exit_code}")
    return time.perf_counter() - began


def _launch(image: str) -> int:
    exit_code: int = kev.launch(image).as_dict()["exit_code"]
    return exit_code
