"""Machines of a service, while they are made."""

import os
import signal
from pathlib import Path

import pytest
import trio

from kev.service.errors import NoWorker
from kev.service.home import Home, Observer
from kev.service.machines.registry import Registry, Wish
from kev.service.machines.state_directory import StateDirectory
from kev.service.workers.fork_server_process import ForkServerProcess
from kev.service.workers.homes import WorkerHomes, worker_homes
from kev.spec.machine_spec import MachineSpec


class DyingHomes:
    """Homes whose process is gone as soon as they are there."""

    def __init__(self, homes: WorkerHomes) -> None:
        self._homes = homes
        self.runner = homes.runner

    async def open(
        self, spec: MachineSpec, observer: Observer, *, client: str | None = None, start: bool = False, passes: bool = False
    ) -> Home:
        home = await self._homes.open(spec, observer, client=client, start=start, passes=passes)
        os.kill(home.process, signal.SIGKILL)
        with trio.fail_after(60):
            while home.status.state != "lost":
                await trio.lowlevel.checkpoint()
        return home


async def test_a_machine_whose_process_dies_while_it_is_made_can_be_asked_for_again(
    folder: Path, forked_from: ForkServerProcess
) -> None:
    directory = StateDirectory(folder)
    async with worker_homes(ready=1, forked_from=forked_from) as homes, trio.open_nursery() as nursery:
        registry = Registry(DyingHomes(homes), directory, nursery)
        with pytest.raises(NoWorker, match=r"one: its process was gone before the machine was there: .*SIGKILL"):
            await registry.create(Wish(MachineSpec("echo"), name="one", start=False))
        assert not list(registry)
        nursery.cancel_scope.cancel()
    assert not os.listdir(directory.machines)
    directory.close()


async def test_a_machine_whose_process_dies_when_it_has_begun_is_lost(folder: Path, forked_from: ForkServerProcess) -> None:
    directory = StateDirectory(folder)
    async with worker_homes(ready=1, forked_from=forked_from) as homes, trio.open_nursery() as nursery:
        registry = Registry(DyingHomes(homes), directory, nursery)
        machine = await registry.create(Wish(MachineSpec("echo"), name="one", start=True))
        assert machine.state == "lost"
        assert "SIGKILL" in machine.status.message
        nursery.cancel_scope.cancel()
    directory.close()
