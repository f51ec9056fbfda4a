"""What becomes of machines when their service ends."""

from pathlib import Path

import trio
from trio.testing import wait_all_tasks_blocked

from kev.service.errors import ShuttingDown
from kev.service.home import Observer
from kev.service.in_process import InProcessHome, InProcessHomes
from kev.service.machines.outliving import put_away, take_up
from kev.service.machines.registry import Registry, Wish
from kev.service.machines.state_directory import StateDirectory
from kev.spec.machine_spec import MachineSpec


class WaitingHomes(InProcessHomes):
    """Homes that are opened when they are let."""

    def __init__(self, nursery: trio.Nursery) -> None:
        super().__init__(nursery)
        self.asked = trio.Event()
        self.let = trio.Event()

    async def open(
        self, spec: MachineSpec, observer: Observer, *, client: str | None = None, start: bool = False, passes: bool = False
    ) -> InProcessHome:
        self.asked.set()
        await self.let.wait()
        return await super().open(spec, observer, client=client, start=start, passes=passes)


async def test_a_machine_that_is_being_made_when_the_service_ends_is_saved_too(folder: Path) -> None:
    directory = StateDirectory(folder)
    async with trio.open_nursery() as nursery:
        homes = WaitingHomes(nursery)
        registry = Registry(homes, directory, nursery, on_shutdown="snapshot")
        nursery.start_soon(registry.create, Wish(MachineSpec("echo"), name="late"))
        await homes.asked.wait()
        async with trio.open_nursery() as ending:
            ending.start_soon(put_away, registry, 60)
            await wait_all_tasks_blocked()
            homes.let.set()
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        registry = Registry(InProcessHomes(nursery), directory, nursery)
        await take_up(registry)
        assert registry["late"].describe()["message"] == ""
        assert registry["late"].state == "running"
        nursery.cancel_scope.cancel()
    directory.close()


async def test_a_machine_whose_plan_is_ready_when_the_service_ends_is_not_made(folder: Path) -> None:
    directory = StateDirectory(folder)
    async with trio.open_nursery() as nursery:
        registry = Registry(InProcessHomes(nursery), directory, nursery)
        refused = False

        async def create() -> None:
            nonlocal refused
            try:
                await registry.create(Wish(MachineSpec("echo")))
            except ShuttingDown:
                refused = True

        async with trio.open_nursery() as clients:
            clients.start_soon(create)
            await trio.lowlevel.checkpoint()
            await put_away(registry, 60)
        assert refused
        assert not list(registry)
        nursery.cancel_scope.cancel()
    directory.close()
