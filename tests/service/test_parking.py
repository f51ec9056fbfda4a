"""Machines that are files while nobody needs them: nothing of that is to be noticed."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kev.errors import KevError
from kev.machine.ending import Ending
from kev.machine.errors import MachineError
from kev.service.home import Homes, Status
from kev.service.page_cells import CellsWanted
from kev.service.parking.home import ParkedHome
from kev.service.parking.homes import ParkedHomes, parked_homes
from kev.snapshot.errors import SnapshotError
from kev.spec.machine_spec import MachineSpec
from tests.service.watcher import Watcher


@pytest.fixture
def parked_in(folder: Path) -> Path:
    place = folder / "parked"
    place.mkdir()
    return place


@pytest.fixture
async def parking(homes: Homes, parked_in: Path) -> AsyncIterator[ParkedHomes]:
    """Parks when it is told to."""
    async with parked_homes(homes, parked_in, after=1e6) as made:
        yield made


async def paused_echo(parking: ParkedHomes, spec: MachineSpec | None = None) -> tuple[ParkedHome, Watcher]:
    watcher = Watcher()
    home = await parking.open(spec or MachineSpec("echo"), watcher)
    await home.start()
    await watcher.prints(b"echo> ")
    await home.pause()
    return home, watcher


async def test_a_parked_machine_goes_on_where_it_was(parking: ParkedHomes) -> None:
    home, watcher = await paused_echo(parking)
    assert home.process
    registers = await home.registers()
    await parking.park()
    assert (home.process, home.status) == (0, Status("paused"))
    assert await home.registers() == registers
    await parking.park()
    await home.send(b"one\n")
    await parking.park()
    assert home.process == 0
    await home.resume()
    await watcher.prints(b"you said: one")
    await home.pause()
    await home.send(b"exit 5\n")
    await home.resume()
    assert await watcher.ends() == Status("ended", Ending.exited(5))
    assert watcher.states == ["running", "paused", "running", "paused", "running", "ended"]
    await home.aclose()


async def test_what_is_told_of_a_machine_brings_it_back_only_if_it_must(parking: ParkedHomes) -> None:
    home, _ = await paused_echo(parking)
    (first, _), *_ = (await home.pages())["present"]
    memory, screen = await home.read_memory(first, 8192), await home.screenshot()
    report, pages = await home.report(), await home.pages()
    cells = await home.page_cells(CellsWanted(100, 0, None))
    await parking.park()
    assert (await home.pages(), (await home.report())["violations"]) == (pages, report["violations"])
    assert await home.page_cells(CellsWanted(100, 0, None)) == cells
    assert home.process == 0
    assert await home.read_memory(first, 8192) == memory
    assert home.process
    await parking.park()
    assert await home.screenshot() == screen
    await home.aclose()


async def test_figures_of_the_whole_run_are_in_the_report(parking: ParkedHomes) -> None:
    home, watcher = await paused_echo(parking)
    before = await home.report()
    await parking.park()
    await home.send(b"exit 3\n")
    await home.resume()
    await watcher.ends()
    report = await home.report()
    assert (report["image"], report["exit_code"]) == ("echo", 3)
    assert report["violations"] > before["violations"]
    assert report["exits"]["EptViolation"] == report["violations"]
    assert report["launch_ms"] == before["launch_ms"]
    await home.aclose()


async def test_a_machine_that_was_not_started_is_parked_too(parking: ParkedHomes) -> None:
    watcher = Watcher()
    home = await parking.open(MachineSpec("hypercalls"), watcher)
    await parking.park()
    assert (home.process, home.status) == (0, Status("created"))
    with pytest.raises(MachineError, match="hypercalls: the machine has not been started: it cannot be paused"):
        await home.pause()
    await parking.park()
    await home.start()
    assert (await watcher.ends()).ending == Ending.exited(42)
    await home.aclose()


async def test_a_machine_that_runs_is_not_parked(parking: ParkedHomes) -> None:
    home = await parking.open(MachineSpec("spin"), Watcher())
    await home.start()
    await parking.park()
    assert home.process
    await home.aclose()


async def test_a_machine_that_would_lose_something_is_not_parked(parking: ParkedHomes, folder: Path) -> None:
    disk, record = folder / "disk", folder / "record"
    disk.write_bytes(bytes(4096))
    for spec in (
        MachineSpec("echo", timeout=600),
        MachineSpec("echo", timeline=True),
        MachineSpec("echo", paging=f"record={record}"),
        MachineSpec("echo", disks=[str(disk)]),
    ):
        home, _ = await paused_echo(parking, spec)
        await parking.park()
        assert home.process, spec
        await home.aclose()


async def test_a_snapshot_of_a_parked_machine_is_as_good_as_any(parking: ParkedHomes, folder: Path) -> None:
    home, watcher = await paused_echo(parking)
    await parking.park()
    await home.snapshot(folder / "copy.snap")
    assert home.process == 0
    again, heard = await parking.open(MachineSpec(str(folder / "copy.snap")), watcher), watcher
    await again.send(b"exit 9\n")
    await again.start()
    assert (await heard.ends()).ending == Ending.exited(9)
    with pytest.raises(SnapshotError, match="there: cannot be written: No such file or directory"):
        await home.snapshot(Path("/nowhere/there"))
    await again.aclose()
    await home.aclose()


@pytest.mark.parametrize("is_parked", [True, False])
async def test_a_machine_is_left_behind_as_a_file(parking: ParkedHomes, folder: Path, parked_in: Path, is_parked: bool) -> None:
    home, _ = await paused_echo(parking)
    if is_parked:
        await parking.park()
    await home.leave(folder / "left.snap")
    assert (os.listdir(parked_in), sorted(os.listdir(folder))) == ([], ["left.snap", "parked"])
    watcher = Watcher()
    again = await parking.open(MachineSpec(str(folder / "left.snap")), watcher)
    await again.send(b"exit 8\n")
    await again.start()
    assert (await watcher.ends()).ending == Ending.exited(8)
    await again.aclose()


async def test_closing_a_parked_machine_leaves_nothing(parking: ParkedHomes, parked_in: Path) -> None:
    home, watcher = await paused_echo(parking)
    await parking.park()
    assert os.listdir(parked_in)
    await home.aclose()
    assert os.listdir(parked_in) == []
    assert watcher.told[-1] == Status("ended", Ending.stopped())


async def test_a_machine_whose_image_has_changed_stays_where_it_is(parking: ParkedHomes, folder: Path) -> None:
    from kev.guests.images import open_root_file_system

    image = folder / "kernel"
    with open_root_file_system() as files:
        image.write_bytes(files.open("echo").read())
    home, watcher = await paused_echo(parking, MachineSpec(str(image)))
    await parking.park()
    contents = image.read_bytes()
    image.write_bytes(contents + b"x")
    with pytest.raises(KevError, match="kernel"):
        await home.resume()
    assert (home.process, home.status) == (0, Status("paused"))
    image.write_bytes(contents)
    os.utime(image, (0, 0))
    await home.send(b"exit 4\n")
    await home.resume()
    assert (await watcher.ends()).ending == Ending.exited(4)
    await home.aclose()


async def test_only_those_are_parked_that_nobody_has_needed_for_a_while(parking: ParkedHomes) -> None:
    home, _ = await paused_echo(parking)
    await parking.park(forgotten_for=1e6)
    assert home.process
    await home.aclose()
