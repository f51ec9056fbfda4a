"""Homes that are processes."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Final

import trio

from kev import log
from kev.machine.ungrouped import ungrouped
from kev.service.errors import NoWorker
from kev.service.home import Home, Observer
from kev.service.workers.fork_server_process import ForkServerProcess
from kev.service.workers.forking import ForkServer, WorkerProcess, fork_server
from kev.service.workers.home import WorkerHome
from kev.spec.machine_spec import MachineSpec


@asynccontextmanager
async def worker_homes(
    *, ready: int = 2, patience: float = 30.0, forked_from: ForkServerProcess | None = None
) -> "AsyncIterator[WorkerHomes]":
    """Homes for the block, each a process, which is ended with it.

    `ready`: how many processes wait for machines. `patience`: seconds that a worker may say nothing when it should. `forked_from`:
    what they are forked from, if it is there already; starting it takes most of a second. NoWorker if the host has no process.
    """
    with ExitStack() as own:
        async with fork_server(forked_from or own.enter_context(ForkServerProcess())) as server:
            with ungrouped():
                async with trio.open_nursery() as nursery:
                    homes = WorkerHomes(server, nursery, ready, patience)
                    nursery.start_soon(homes.keep_ready)
                    yield homes
                    nursery.cancel_scope.cancel()


class WorkerHomes:
    """See `kev.service.home.Homes`."""

    def __init__(self, server: ForkServer, nursery: trio.Nursery, ready: int, patience: float) -> None:
        self._server: Final = server
        self._nursery: Final = nursery
        self._ready: Final = ready
        self._patience: Final = patience
        self._idle: Final[deque[WorkerProcess]] = deque()
        self._taken = trio.Event()

    async def open(self, spec: MachineSpec, observer: Observer) -> Home:
        """See `Homes`. NoWorker if the host has no process for it."""
        home = WorkerHome(await self._take(), spec.image, observer, self._patience)
        self._nursery.start_soon(home.live)
        try:
            await home.open(spec)
        except BaseException:
            await home.aclose()
            raise
        return home

    async def _take(self) -> WorkerProcess:
        while self._idle:
            worker = self._idle.popleft()
            self._taken.set()
            if not worker.ended.is_set():
                return worker
            await worker.aclose()
        return await self._server.fork()

    async def keep_ready(self) -> None:
        """Forks a worker whenever too few wait."""
        try:
            while True:
                while len(self._idle) < self._ready:
                    self._idle.append(await self._server.fork())
                self._taken = trio.Event()
                await self._taken.wait()
        except NoWorker as error:
            log.warning("no workers can be kept ready", reason=str(error))
        finally:
            with trio.CancelScope(shield=True):
                for worker in self._idle:
                    await worker.aclose()
