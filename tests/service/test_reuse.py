"""Workers that take one machine after another: which machines share one, and what a machine sees of the one before."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from kev.guests.images import open_root_file_system
from kev.machine.ending import Ending
from kev.service.errors import MachineLost
from kev.service.home import Home
from kev.service.workers.fork_server_process import ForkServerProcess
from kev.service.workers.homes import WorkerHomes, worker_homes
from kev.service.workers.used import Reuse
from kev.spec.machine_spec import MachineSpec
from tests.service.processes import workers_of
from tests.service.watcher import Watcher

ECHO = MachineSpec("echo")
SPIN = MachineSpec("spin")


@pytest.fixture
async def homes(forked_from: ForkServerProcess) -> AsyncIterator[WorkerHomes]:
    async with worker_homes(ready=0, reuse=Reuse(2), forked_from=forked_from) as made:
        yield made


async def process_of(homes: WorkerHomes, spec: MachineSpec, client: str | None = "a client") -> int:
    """In which a machine has come and gone."""
    home = await homes.open(spec, Watcher(), client=client)
    await home.start()
    await home.aclose()
    return home.process


def image_in(folder: Path) -> Path:
    image = folder / "kernel"
    with open_root_file_system() as files:
        image.write_bytes(files.open("echo").read())
    return image


async def test_machines_of_one_client_and_the_same_files_share_a_process_one_by_one(homes: WorkerHomes, folder: Path) -> None:
    image = str(image_in(folder))
    for spec in (ECHO, MachineSpec("echo", memory="32M"), MachineSpec(image)):
        first = await process_of(homes, spec)
        for alike in (spec, spec.replace(command_line="x", seed=1, timeout=30, max_output=1000)):
            assert await process_of(homes, alike) == first


async def test_a_machine_that_starts_at_once_leaves_its_process_with_its_end(homes: WorkerHomes) -> None:
    processes = []
    for number in range(4):
        watcher = Watcher()
        home = await homes.open(MachineSpec("gKeOS"), watcher, client="a client", start=True, passes=bool(number % 2))
        assert (await watcher.ends()).ending == Ending.exited(0)
        await home.aclose()
        processes.append(home.process)
    assert len(set(processes)) == 1


async def test_one_that_is_gone_meanwhile_is_not_waited_for(homes: WorkerHomes) -> None:
    process = await process_of(homes, SPIN)
    os.kill(process, signal.SIGKILL)
    watcher = Watcher()
    home = await homes.open(SPIN, watcher, client="a client", start=True)
    assert (home.status.state, watcher.states) == ("running", ["running"])
    assert home.process != process
    os.kill(home.process, signal.SIGKILL)
    assert "SIGKILL" in (await watcher.ends()).message
    await home.aclose()


@pytest.mark.parametrize(
    "spec",
    [SPIN, ECHO.replace(memory="32M"), ECHO.replace(modules=["/proc/self/exe"])],
    ids=["image", "memory", "modules"],
)
async def test_machines_of_other_files_do_not_come_to_live_there(homes: WorkerHomes, spec: MachineSpec) -> None:
    assert await process_of(homes, ECHO) != await process_of(homes, spec)


async def test_machines_of_other_clients_and_of_nobody_known_do_not_come_to_live_there(homes: WorkerHomes) -> None:
    processes = [await process_of(homes, ECHO, client) for client in ("one", "another", None, None)]
    assert len(set(processes)) == 4


async def test_machines_with_disks_that_are_written_are_alone(homes: WorkerHomes, folder: Path) -> None:
    disk = folder / "disk"
    disk.write_bytes(bytes(1 << 16))
    written = ECHO.replace(disks=[f"{disk},virtio"])
    assert await process_of(homes, written) != await process_of(homes, written)


async def test_nothing_of_the_machine_before_is_in_the_next_one(homes: WorkerHomes) -> None:
    reports = []
    for number in range(3):
        watcher = Watcher()
        home = await homes.open(ECHO, watcher, client="a client")
        await home.start()
        await watcher.prints(b"echo> ")
        await home.send(b"exit %d\n" % number)
        assert (await watcher.ends()).ending == Ending.exited(number)
        reports.append(await home.report())
        assert watcher.states == ["running", "ended"]
        assert watcher.output.count(b"echo> ") == 1
        await home.aclose()
    for name in ("pages_loaded", "violations"):
        assert reports[1][name] == reports[2][name] == reports[0][name]


async def test_two_machines_at_once_never_share_a_process(homes: WorkerHomes) -> None:
    await process_of(homes, SPIN)
    first, second = [await homes.open(SPIN, Watcher(), client="a client") for _ in range(2)]
    assert first.process != second.process
    await first.aclose()
    await second.aclose()


async def test_a_machine_that_is_closed_says_so(homes: WorkerHomes) -> None:
    home = await homes.open(SPIN, Watcher(), client="a client")
    await home.aclose()
    other = await homes.open(SPIN, Watcher(), client="a client")
    with pytest.raises(MachineLost, match="spin: the machine is closed"):
        await home.registers()
    assert len(await other.registers()) == 1
    await other.aclose()


async def test_a_worker_that_dies_while_it_waits_costs_nobody_a_machine(homes: WorkerHomes) -> None:
    process = await process_of(homes, SPIN)
    os.kill(process, signal.SIGKILL)
    assert await process_of(homes, SPIN) != process


async def test_workers_that_are_stopped_while_they_wait_are_replaced(forked_from: ForkServerProcess) -> None:
    async with worker_homes(ready=1, reuse=Reuse(1), forked_from=forked_from) as homes:
        used = await process_of(homes, SPIN)
        await homes.until_ready()
        stopped = workers_of(forked_from)
        assert used in stopped
        for process in stopped:
            os.kill(process, signal.SIGSTOP)
        with trio.fail_after(60):
            assert await process_of(homes, SPIN) not in stopped


async def test_a_file_that_has_got_anothers_place_is_opened_all_the_same(homes: WorkerHomes, folder: Path) -> None:
    image = image_in(folder)
    spec = MachineSpec(str(image))
    first = await process_of(homes, spec)
    os.replace(image_in(folder / "."), folder / "elsewhere")
    image_in(folder)
    watcher = Watcher()
    home = await homes.open(spec, watcher, client="a client")
    await home.start()
    await watcher.prints(b"echo> ")
    assert home.process != first
    await home.aclose()


async def test_a_machine_is_closed_while_something_is_asked_of_it(homes: WorkerHomes) -> None:
    async def ask(home: Home) -> None:
        with suppress(MachineLost):
            while True:
                assert len(await home.registers()) == 1

    for steps in range(0, 24, 2):
        home = await homes.open(SPIN, Watcher(), client="a client")
        await home.start()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, home)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            await home.aclose()
    assert await process_of(homes, SPIN) > 0


async def test_no_more_wait_than_may_and_none_is_left(forked_from: ForkServerProcess) -> None:
    before = os.listdir("/proc/self/fd")
    async with worker_homes(ready=0, reuse=Reuse(2), forked_from=forked_from) as homes:
        made = [await homes.open(SPIN, Watcher(), client="a client") for _ in range(4)]
        for home in made:
            await home.aclose()
        again = [await homes.open(SPIN, Watcher(), client="a client") for _ in range(4)]
        assert len({home.process for home in made} & {home.process for home in again}) == 2
    assert os.listdir("/proc/self/fd") == before
