"""Machines that live in this process: of guests that are trusted, and in each worker the one that is its own."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final

import trio

from kev.exits import EptViolation
from kev.machine.ending import Ending
from kev.machine.errors import MachineError
from kev.machine.launcher import begin
from kev.machine.machine import Machine, MachineState
from kev.machine.start import driven, running
from kev.pager.policy import PagingPolicy
from kev.service.errors import InputFull
from kev.service.home import MOST_READ, Observer, Runner, Status
from kev.service.load_times import LoadTimes
from kev.service.page_cells import CellsWanted, in_cells
from kev.service.pages import describe_pages
from kev.service.runs import opening_runner
from kev.spec.machine_spec import MachineSpec

MOST_INPUT: Final = 1 << 20
"""Bytes that are typed and wait for the guest to take them."""


class InProcessHomes:
    """Makes homes whose machines run as tasks of `nursery`: cancelling that ends them."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery: Final = nursery

    async def open(
        self, spec: MachineSpec, observer: Observer, *, client: str | None = None, start: bool = False, passes: bool = False
    ) -> "InProcessHome":
        """See `Homes`."""
        home: InProcessHome = await self._nursery.start(partial(_live, spec, observer))
        if start:
            try:
                await home.start()
            except MachineError:
                if home.machine.ending is None:
                    raise
                # What is loaded ahead has come to a limit.
        return home

    async def go_on(self, home: "InProcessHome", files: ExitStack, *, policy_has_run: bool) -> None:
        """Lets a machine run on that was begun without tasks. `files`: what was opened for it, which is closed with the home."""
        await self._nursery.start(partial(_live_on, home, files.pop_all(), policy_has_run))

    def runner(self, spec: MachineSpec, client: str | None, most: int) -> AbstractAsyncContextManager[Runner]:
        """See `Homes`."""
        return opening_runner(self, spec, client, most)


@asynccontextmanager
async def in_process_homes() -> AsyncIterator[InProcessHomes]:
    """Homes for the block, which end with it."""
    async with trio.open_nursery() as nursery:
        yield InProcessHomes(nursery)
        nursery.cancel_scope.cancel()


async def _live(spec: MachineSpec, observer: Observer, task_status: "trio.TaskStatus[InProcessHome]") -> None:
    """The life of one machine."""
    async with running(spec, {}, paused=True, keeps_output=False) as machine:
        home = InProcessHome(machine, observer)
        task_status.started(home)
        await home.live()


async def _live_on(home: "InProcessHome", files: ExitStack, policy_has_run: bool, task_status: "trio.TaskStatus[None]") -> None:
    """The rest of one."""
    machine = home.machine
    with files:
        async with driven(machine, timeout=home.timeout, policy_has_run=policy_has_run):
            task_status.started()
            await home.live()


class InProcessHome:
    """See `kev.service.home.Home`."""

    def __init__(self, machine: Machine, observer: Observer, timeout: float | None = None) -> None:
        """`timeout`: what `driven` is told of it."""
        self.machine: Final = machine
        self.timeout: Final = timeout
        self._observer: Final = observer
        machine.vm.console.output.subscribe(observer.printed)
        self._load_times: Final = LoadTimes()
        machine.vm.pager.observe(self._load_times)
        self._started = False
        self._leave: Final = trio.Event()
        self._left: Final = trio.Event()
        self._status = Status("created")

    async def live(self) -> None:
        """Until the home is closed."""
        try:
            await self.machine.wait()
            self.note()
            await self._leave.wait()
        finally:
            self._left.set()

    @property
    def status(self) -> Status:
        return self._status

    @property
    def process(self) -> int:
        return os.getpid()

    def begin(self, until: Callable[[], bool]) -> bool:
        """Runs the machine, which nothing drives yet, for a while: see `kev.machine.launcher.begin`."""
        self._started = True
        if self.timeout is not None:
            self.machine.set_time_limit(self.timeout)
        # What is loaded ahead may take long, and whoever asks for something meanwhile is to be answered.
        policy_has_run = type(self.machine.policy) is PagingPolicy and begin(self.machine, until)
        if self.machine.vm.ending is not None:
            self.machine.note_end()
        return policy_has_run

    async def start(self) -> None:
        if self._started:
            raise MachineError(f"{self.machine.image}: the machine is {self._status.state}: it can be started once")
        self._started = True
        await self.machine.resume()
        self.note()

    async def pause(self) -> None:
        self._check_started("paused")
        await self.machine.pause()
        self.note()

    async def resume(self) -> None:
        self._check_started("resumed")
        await self.machine.resume()
        self.note()

    async def stop(self) -> None:
        await self.machine.stop()
        self.note()

    async def send(self, data: bytes) -> None:
        line = self.machine.vm.input_line
        if line is not None and line.backlog + len(data) > MOST_INPUT:
            raise InputFull(
                f"{self.machine.image}: the guest has not taken {line.backlog:,} bytes of what was typed: {MOST_INPUT:,} may wait",
                field="input",
                limit=MOST_INPUT,
            )
        self.machine.send(data)

    async def press_ctrl_alt_delete(self) -> None:
        self.machine.press_ctrl_alt_delete()

    async def snapshot(self, file: os.PathLike[str], *, compress: bool = False) -> None:
        await self.machine.snapshot(file, compress=compress)

    async def report(self) -> dict[str, Any]:
        return self.machine.report().as_dict()

    async def figures(self) -> dict[str, Any]:
        vm = self.machine.vm
        return {
            "pages_loaded": vm.pager.statistics.loads,
            "violations": vm.exits[EptViolation],
            "exits": {kind.__name__: count for kind, count in vm.exits.items() if count},
            "load_times": self._load_times.describe(),
        }

    async def pages(self) -> dict[str, Any]:
        return describe_pages(self.machine.vm)

    async def page_cells(self, wanted: CellsWanted) -> dict[str, Any]:
        return in_cells(describe_pages(self.machine.vm), wanted)

    async def registers(self) -> list[dict[str, int]]:
        return [self.machine.registers(vcpu) for vcpu in range(self.machine.vcpus)]

    async def read_memory(self, gpa: int, length: int) -> bytes:
        if length > MOST_READ:
            raise MachineError(f"{length} bytes cannot be read at once: the most are {MOST_READ}")
        return await self.machine.read(length, gpa=gpa)

    async def screenshot(self) -> bytes:
        return self.machine.screenshot()

    async def aclose(self) -> None:
        if self.machine.state is not MachineState.ENDED:
            self.machine.end(Ending.stopped())
        self._leave.set()
        with trio.CancelScope(shield=True):
            await self._left.wait()

    def _check_started(self, what: str) -> None:
        if not self._started:
            raise MachineError(f"{self.machine.image}: the machine has not been started: it cannot be {what}")

    def note(self) -> None:
        """Tells the observer, if the machine is in another state than it was told of."""
        status = self._found()
        if status != self._status:
            self._status = status
            self._observer.changed(status)

    def _found(self) -> Status:
        machine = self.machine
        if machine.state is MachineState.ENDED:
            return Status("ended", machine.ending)
        if not self._started:
            return Status("created")
        return Status("paused" if machine.state is MachineState.PAUSED else "running")
