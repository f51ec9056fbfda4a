"""Homes that are processes."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Final, TypeAlias

import trio

from kev import log
from kev.errors import KevError
from kev.machine.ungrouped import ungrouped
from kev.service.errors import MachineLost, NoWorker
from kev.service.home import Home, Observer, Runner
from kev.service.runs import opening_runner
from kev.service.workers.attendant import Attendant
from kev.service.workers.confinement import ALL, Confinement, describe
from kev.service.workers.confinement.machine import allows_another
from kev.service.workers.fork_server_process import ForkServerProcess
from kev.service.workers.forking import ForkServer, WorkerProcess, fork_server
from kev.service.workers.home import Waking, WorkerHome
from kev.service.workers.runner import worker_runner
from kev.service.workers.turns import Turns
from kev.service.workers.used import NO_REUSE, Kind, Reuse, UsedWorkers
from kev.spec.machine_spec import MachineSpec

READY: Final = 2
"""How many processes wait for machines, if nothing else is said."""
PATIENCE: Final = 30.0
"""Seconds, if nothing else is said."""
_BETWEEN_STARTS: Final = 0.5
"""Seconds, in case that it dies at once again and again."""
_LOOKS: Final = 4
"""How often a worker is looked at before patience is over."""


@asynccontextmanager
async def worker_homes(
    *,
    ready: int = READY,
    patience: float = PATIENCE,
    confinement: Confinement = ALL,
    forked_from: ForkServerProcess | None = None,
    reuse: Reuse = NO_REUSE,
) -> "AsyncIterator[WorkerHomes]":
    """Homes for the block, each a process, which is ended with it.

    `ready`: how many processes wait for machines. `patience`: seconds that a worker may say nothing when it should; then it is
    killed. `confinement`: what is wanted; `kev.service.workers.confinement.describe` says what there is. `forked_from`: what
    workers are forked from, if it is there already; starting it takes most of a second. `reuse`: which workers whose machine is
    closed wait for another one of the same client and the same files; see `kev.service.workers.used`. NoWorker if the host has no
    process.
    """
    measures = describe(confinement)
    log.info("workers are confined", **{measure.name: measure.detail for measure in measures})
    in_force = Confinement(*(measure.in_force for measure in measures))
    with ungrouped():
        async with trio.open_nursery() as beneath:
            supply = _Supply()
            await beneath.start(supply.serve, forked_from)
            async with trio.open_nursery() as nursery:
                homes = WorkerHomes(supply, nursery, ready, patience, in_force, UsedWorkers(reuse))
                nursery.start_soon(homes.keep_ready)
                nursery.start_soon(homes.watch)
                nursery.start_soon(homes.see_them_wake)
                nursery.start_soon(homes.turns.keep)
                yield homes
                nursery.cancel_scope.cancel()
            beneath.cancel_scope.cancel()


_Opening: TypeAlias = Callable[[WorkerHome, MachineSpec, Confinement], Awaitable[None]]
"""`WorkerHome.open`, or what makes a machine that runs at once."""


class _Wakings:
    """Workers that have the same patience, in the order in which it ends."""

    def __init__(self) -> None:
        self._waking: Final[deque[Waking]] = deque()
        self._news = trio.Event()

    def add(self, waking: Waking) -> None:
        self._waking.append(waking)
        self._news.set()

    async def see_them_wake(self) -> None:
        """Kills those that do not."""
        while True:
            while self._waking:
                first = self._waking.popleft()
                if not first.has_spoken.is_set():
                    await trio.sleep_until(first.until)
                if not first.has_spoken.is_set():
                    first.attendant.kill("does not wake up")
            self._news = trio.Event()
            await self._news.wait()


class _Supply:
    """What workers are forked from. If it dies, another takes its place."""

    def __init__(self) -> None:
        self._server: ForkServer | None = None
        self._is_there = trio.Event()

    async def fork(self) -> WorkerProcess:
        """Another worker, when there is something to fork it from. NoWorker if the host has none."""
        await self._is_there.wait()
        assert self._server is not None
        return await self._server.fork()

    async def serve(self, given: ForkServerProcess | None, task_status: trio.TaskStatus[None]) -> None:
        """Until this is cancelled. `given` is used as long as it is there, and nothing then. NoWorker if the first cannot be."""
        has_started = False
        while True:
            try:
                with ExitStack() as own:
                    async with fork_server(given or own.enter_context(ForkServerProcess())) as self._server:
                        self._is_there.set()
                        if not has_started:
                            task_status.started()
                            has_started = True
                        await self._server.gone.wait()
            except NoWorker as error:
                if not has_started:
                    raise
                log.warning("nothing can be started that workers are forked from", reason=str(error))
            if given is not None:
                return
            self._is_there = trio.Event()
            log.warning("what workers are forked from is gone, and all workers with it: another one is started")
            await trio.sleep(_BETWEEN_STARTS)


class _WasDead(MachineLost):
    """The worker has not even begun to make the machine: another one might."""


class WorkerHomes:
    """See `kev.service.home.Homes`. Made by `worker_homes`."""

    def __init__(
        self,
        supply: _Supply,
        nursery: trio.Nursery,
        ready: int,
        patience: float,
        confinement: Confinement,
        used: UsedWorkers,
    ) -> None:
        self._supply: Final = supply
        self._nursery: Final = nursery
        self._ready: Final = ready
        self._patience: Final = patience
        self._confinement: Final = confinement
        self._idle: Final[deque[WorkerProcess]] = deque()
        self._used: Final = used
        self.turns: Final = Turns()
        self._taken = trio.Event()
        self._refilled = trio.Event()
        self._homes: Final[set[WorkerHome]] = set()
        self._asked: Final = _Wakings()
        self._unasked: Final = _Wakings()

    async def open(
        self, spec: MachineSpec, observer: Observer, *, client: str | None = None, start: bool = False, passes: bool = False
    ) -> Home:
        """See `Homes`. NoWorker if the host has no process for it."""
        opening = partial(WorkerHome.run, passes=passes) if start else WorkerHome.open
        return await self._open_in_turn(spec, observer, client=client, opening=opening)

    async def _open_in_turn(
        self, spec: MachineSpec, observer: Observer, *, client: str | None, opening: _Opening = WorkerHome.open
    ) -> WorkerHome:
        kind = self._used.kind_of(spec, client)
        turn = await self.turns.take()
        try:
            home = await self._open_somewhere(spec, observer, kind, opening)
        except BaseException:
            turn.end()
            raise
        home.take_turns(turn, self._nursery)
        return home

    def runner(self, spec: MachineSpec, client: str | None, most: int) -> AbstractAsyncContextManager[Runner]:
        """See `Homes`. All in one worker, if the confinement for the first machine is what the next one needs."""
        if not allows_another(spec):
            return opening_runner(self, spec, client, most)
        return worker_runner(partial(self._open_in_turn, spec, client=client), most)

    async def _open_somewhere(self, spec: MachineSpec, observer: Observer, kind: Kind | None, opening: _Opening) -> WorkerHome:
        if (used := self._used.take(kind)) is not None:
            # Its files may have got others in their places, which this worker cannot open.
            with suppress(KevError):
                return await self._open(used, spec, observer, kind, opening, has_waited=True)
        if (worker := self._take_idle()) is not None:
            with suppress(_WasDead):
                return await self._open(self._attended(worker), spec, observer, kind, opening, has_waited=True)
        return await self._open(self._attended(await self._supply.fork()), spec, observer, kind, opening)

    def _attended(self, worker: WorkerProcess) -> Attendant:
        attendant = Attendant(worker)
        self._nursery.start_soon(attendant.live)
        return attendant

    async def _open(
        self,
        attendant: Attendant,
        spec: MachineSpec,
        observer: Observer,
        kind: Kind | None,
        opening: _Opening,
        *,
        has_waited: bool = False,
    ) -> WorkerHome:
        stays = self._used.wants(attendant.worker, kind)
        over = partial(self._note_over, kind)
        home = WorkerHome(attendant, spec.image, observer, self._patience, stays, over)
        self._homes.add(home)
        if has_waited:
            # One that has had machines of these files makes another one soon, and what it says of it is enough.
            asks = opening is WorkerHome.open or attendant.worker.machines == 0
            (self._asked if asks else self._unasked).add(home.wake(asks=asks))
        try:
            await opening(home, spec, self._confinement)
        except BaseException as error:
            await home.aclose()
            if isinstance(error, MachineLost) and not home.has_said_anything:
                raise _WasDead(str(error)) from error
            raise
        return home

    def _note_over(self, kind: Kind | None, home: WorkerHome) -> None:
        self._homes.remove(home)
        if home.has_left and kind is not None:
            self._used.add(home.attendant, kind)

    def _take_idle(self) -> WorkerProcess | None:
        if not self._idle:
            return None
        self._taken.set()
        return self._idle.popleft()

    async def until_ready(self) -> None:
        """Returns when as many workers wait as are to."""
        while len(self._idle) < self._ready:
            await self._refilled.wait()

    async def keep_ready(self) -> None:
        """Forks a worker whenever too few wait."""
        try:
            while True:
                await self._fill()
                self._refilled.set()
                self._refilled = trio.Event()
                self._taken = trio.Event()
                await self._taken.wait()
        finally:
            with trio.CancelScope(shield=True):
                for worker in self._idle:
                    await worker.aclose()

    async def _fill(self) -> None:
        try:
            while len(self._idle) < self._ready:
                self._idle.append(await self._supply.fork())
        except NoWorker as error:
            log.warning("no workers can be kept ready", reason=str(error))

    async def see_them_wake(self) -> None:
        """Kills workers that have waited and do not wake up."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._asked.see_them_wake)
            nursery.start_soon(self._unasked.see_them_wake)

    async def watch(self) -> None:
        """Kills workers that do not answer, and replaces idle ones that have died."""
        while True:
            await trio.sleep(self._patience / _LOOKS)
            for worker in [worker for worker in self._idle if worker.ended.is_set()]:
                self._idle.remove(worker)
                self._taken.set()
                await worker.aclose()
            self._used.sweep()
            for home in self._homes:
                if home.should_answer:
                    self._nursery.start_soon(home.ask)
