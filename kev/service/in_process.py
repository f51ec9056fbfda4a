"""Machines that live in this process: of guests that are trusted, and in each worker the one that is its own."""

import os
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from kev.machine.ending import Ending
from kev.machine.errors import MachineError
from kev.machine.machine import Machine, MachineState
from kev.machine.start import running
from kev.service.home import Home, Observer, Status
from kev.service.pages import describe_pages
from kev.spec.machine_spec import MachineSpec


class InProcessHomes:
    """Makes homes whose machines run as tasks of `nursery`: cancelling that ends them."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery: Final = nursery

    async def open(self, spec: MachineSpec, observer: Observer) -> Home:
        """See `Homes`."""
        home: Home = await self._nursery.start(partial(_live, spec, observer))
        return home


async def _live(spec: MachineSpec, observer: Observer, task_status: trio.TaskStatus[Home]) -> None:
    """The life of one machine."""
    async with running(spec, {}, paused=True, keeps_output=False) as machine:
        home = _InProcessHome(machine, observer)
        machine.vm.console.output.subscribe(observer.printed)
        task_status.started(home)
        await home.live()


class _InProcessHome:
    def __init__(self, machine: Machine, observer: Observer) -> None:
        self._machine: Final = machine
        self._observer: Final = observer
        self._started = False
        self._leave: Final = trio.Event()
        self._left: Final = trio.Event()
        self._status = Status("created")

    async def live(self) -> None:
        """Until the home is closed."""
        try:
            await self._machine.wait()
            self._note()
            await self._leave.wait()
        finally:
            self._left.set()

    @property
    def status(self) -> Status:
        return self._status

    @property
    def process(self) -> int:
        return os.getpid()

    async def start(self) -> None:
        if self._started:
            raise MachineError(f"{self._machine.image}: the machine is {self._status.state}: it can be started once")
        self._started = True
        await self._machine.resume()
        self._note()

    async def pause(self) -> None:
        self._check_started("paused")
        await self._machine.pause()
        self._note()

    async def resume(self) -> None:
        self._check_started("resumed")
        await self._machine.resume()
        self._note()

    async def stop(self) -> None:
        await self._machine.stop()
        self._note()

    async def send(self, data: bytes) -> None:
        self._machine.send(data)

    async def snapshot(self, file: Path, *, compress: bool = False) -> None:
        await self._machine.snapshot(file, compress=compress)

    async def report(self) -> dict[str, Any]:
        return self._machine.report().as_dict()

    async def pages(self) -> dict[str, Any]:
        return describe_pages(self._machine.vm)

    async def registers(self) -> list[dict[str, int]]:
        return [self._machine.registers(vcpu) for vcpu in range(self._machine.vcpus)]

    async def read_memory(self, gpa: int, length: int) -> bytes:
        return await self._machine.read(length, gpa=gpa)

    async def screenshot(self) -> bytes:
        return self._machine.screenshot()

    async def aclose(self) -> None:
        if self._machine.state is not MachineState.ENDED:
            self._machine.end(Ending.stopped())
        self._leave.set()
        with trio.CancelScope(shield=True):
            await self._left.wait()

    def _check_started(self, what: str) -> None:
        if not self._started:
            raise MachineError(f"{self._machine.image}: the machine has not been started: it cannot be {what}")

    def _note(self) -> None:
        """Tells the observer, if the machine is in another state than it was told of."""
        status = self._found()
        if status != self._status:
            self._status = status
            self._observer.changed(status)

    def _found(self) -> Status:
        machine = self._machine
        if machine.state is MachineState.ENDED:
            return Status("ended", machine.ending)
        if not self._started:
            return Status("created")
        return Status("paused" if machine.state is MachineState.PAUSED else "running")
