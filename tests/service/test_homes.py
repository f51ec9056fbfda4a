"""What holds wherever the machines of a service live: in its process, or each in a worker."""

import os
from pathlib import Path

import pytest

from kev.errors import KevError
from kev.machine.ending import Ending, EndingKind
from kev.machine.errors import MachineError
from kev.service.home import Home, Homes, Status
from kev.service.page_cells import CellsWanted
from kev.spec.machine_spec import MachineSpec
from tests.service.watcher import Watcher


async def started(homes: Homes, spec: MachineSpec) -> tuple[Home, Watcher]:
    watcher = Watcher()
    home = await homes.open(spec, watcher)
    await home.start()
    return home, watcher


async def echo(homes: Homes) -> tuple[Home, Watcher]:
    """A guest that waits for input."""
    home, watcher = await started(homes, MachineSpec("echo"))
    await watcher.prints(b"echo> ")
    return home, watcher


async def test_a_machine_is_made_started_and_runs_to_its_end(homes: Homes) -> None:
    watcher = Watcher()
    home = await homes.open(MachineSpec("hypercalls"), watcher)
    assert (home.status, watcher.output) == (Status("created"), b"")
    await home.start()
    assert await watcher.ends() == home.status == Status("ended", Ending.exited(42))
    assert watcher.states == ["running", "ended"]
    assert watcher.output
    report = await home.report()
    assert (report["image"], report["exit_code"]) == ("hypercalls", 42)
    await home.aclose()
    assert watcher.states == ["running", "ended"]


@pytest.mark.parametrize("passes", [False, True], ids=["", "passes"])
async def test_a_machine_that_starts_at_once_runs_to_its_end(homes: Homes, *, passes: bool) -> None:
    watcher = Watcher()
    home = await homes.open(MachineSpec("gKeOS"), watcher, start=True, passes=passes)
    ended = await watcher.ends()
    assert (watcher.states, ended.ending) == (["running", "ended"], Ending.exited(0))
    assert watcher.output.endswith(b"Hello guest os!\n")
    report, figures = await home.report(), await home.figures()
    assert report["exit_code"] == 0
    assert figures["pages_loaded"] == report["pages_loaded"] == sum(figures["load_times"]["counts"])
    if not passes:
        assert sum(length for _, length in (await home.pages())["present"]) >= report["pages_loaded"]
        assert (await home.screenshot()).startswith(b"\x89PNG")
    await home.aclose()


async def test_a_machine_that_starts_at_once_and_goes_on_is_as_any_other(homes: Homes) -> None:
    watcher = Watcher()
    home = await homes.open(MachineSpec("echo"), watcher, start=True)
    await watcher.prints(b"echo> ")
    await home.pause()
    await home.resume()
    await home.send(b"exit 6\n")
    assert (await watcher.ends()).ending == Ending.exited(6)
    assert watcher.states == ["running", "paused", "running", "ended"]
    await home.aclose()


async def test_a_machine_that_has_just_been_started_answers(homes: Homes) -> None:
    home = await homes.open(MachineSpec("spin"), Watcher(), start=True)
    assert len(await home.registers()) == 1
    with pytest.raises(MachineError, match="it can be started once"):
        await home.start()
    await home.stop()
    assert home.status.ending == Ending.stopped()
    await home.aclose()


async def test_what_was_printed_comes_before_the_end(homes: Homes) -> None:
    home, watcher = await started(homes, MachineSpec("gKeOS"))
    await watcher.ends()
    assert watcher.output.endswith(b"Hello guest os!\n")
    await home.aclose()


async def test_what_is_typed_reaches_the_guest_in_order(homes: Homes) -> None:
    home, watcher = await echo(homes)
    for line in (b"one\n", b"two\n", b"exit 7\n"):
        await home.send(line)
    assert (await watcher.ends()).ending == Ending.exited(7)
    assert watcher.output.index(b"you said: one") < watcher.output.index(b"you said: two")
    await home.aclose()


async def test_bytes_that_are_no_text_are_typed_as_they_are(homes: Homes) -> None:
    home, watcher = await echo(homes)
    await home.send(b"\xff\xfe\x80\n")
    await watcher.prints(b"you said: \xff\xfe\x80")
    await home.aclose()


async def test_pages_that_are_loaded_before_anybody_looks_are_no_trouble(homes: Homes) -> None:
    home, watcher = await started(homes, MachineSpec("hypercalls", paging="eager", source_latency="1ms"))
    assert (await watcher.ends()).ending == Ending.exited(42)
    await home.aclose()


async def test_a_machine_is_paused_and_resumed(homes: Homes) -> None:
    home, watcher = await echo(homes)
    await home.pause()
    assert home.status == Status("paused")
    registers = await home.registers()
    await home.send(b"hello\n")
    assert await home.registers() == registers
    await home.resume()
    await watcher.prints(b"you said: hello")
    assert watcher.states == ["running", "paused", "running"]
    await home.aclose()


async def test_a_machine_is_stopped(homes: Homes) -> None:
    home, watcher = await started(homes, MachineSpec("spin"))
    await home.stop()
    assert home.status == watcher.told[-1] == Status("ended", Ending.stopped())
    await home.aclose()


async def test_what_a_state_forbids_is_refused_with_the_same_words(homes: Homes) -> None:
    home = await homes.open(MachineSpec("spin"), Watcher())
    with pytest.raises(MachineError, match="spin: the machine has not been started: it cannot be paused"):
        await home.pause()
    await home.start()
    with pytest.raises(MachineError, match="spin: the machine is running: it can be started once"):
        await home.start()
    await home.stop()
    with pytest.raises(MachineError, match="spin: b'x' cannot be sent: the run has ended"):
        await home.send(b"x")
    with pytest.raises(MachineError, match="the run has ended: nothing could go on from a snapshot"):
        await home.snapshot(Path("never.snap"))
    await home.aclose()


async def test_a_machine_that_cannot_be_is_refused_by_the_error_that_it_always_is(homes: Homes) -> None:
    from kev.guests.images import ImageNotFound

    with pytest.raises(ImageNotFound, match="gKeOSx: there is no such file, and no such guest"):
        await homes.open(MachineSpec("gKeOSx"), Watcher())
    with pytest.raises(MachineError, match="disk /dev/null: is neither a regular file nor a block device"):
        await homes.open(MachineSpec("block", disks=["/dev/null"]), Watcher())


async def test_memory_and_pages_are_those_of_the_machine(homes: Homes) -> None:
    home, _ = await echo(homes)
    pages = await home.pages()
    (first, behind), *_ = pages["present"]
    assert pages["page_size"] == 4096
    cells = await home.page_cells(CellsWanted(100, first, behind))
    assert sum(cells["present"]) == (behind - first) // 4096
    assert first % 4096 == behind % 4096 == 0
    assert len(await home.read_memory(first, 300_000)) == 300_000
    with pytest.raises(MachineError, match="16777217 bytes cannot be read at once: the most are 16777216"):
        await home.read_memory(0, (16 << 20) + 1)
    with pytest.raises(KevError, match="0x123456789000"):
        await home.read_memory(0x1234_5678_9000, 8)
    (registers,) = await home.registers()
    assert 0 < registers["rip"] < 1 << 64
    await home.aclose()


async def test_a_screenshot_is_a_png_file(homes: Homes) -> None:
    home, _ = await echo(homes)
    assert (await home.screenshot()).startswith(b"\x89PNG\r\n\x1a\n")
    await home.aclose()


async def test_a_timeline_that_was_asked_for_is_in_the_report(homes: Homes) -> None:
    home, watcher = await started(homes, MachineSpec("gKeOS", timeline=True))
    await watcher.ends()
    report = await home.report()
    assert report["violations"] > 100
    assert report["timeline"]
    await home.aclose()


async def test_a_machine_goes_on_from_a_snapshot(homes: Homes, folder: Path) -> None:
    home, watcher = await echo(homes)
    await home.send(b"one\n")
    await watcher.prints(b"you said: one")
    file = folder / "echo.snap"
    await home.snapshot(file)
    assert os.listdir(folder) == ["echo.snap"]
    await home.send(b"exit 1\n")
    assert (await watcher.ends()).ending == Ending.exited(1)
    again, heard = await started(homes, MachineSpec(str(file)))
    await again.send(b"exit 2\n")
    assert (await heard.ends()).ending == Ending.exited(2)
    await home.aclose()
    await again.aclose()


async def test_limits_of_the_description_hold(homes: Homes) -> None:
    endings = []
    for spec in (
        MachineSpec("spin", timeout=0.5),
        MachineSpec("gKeOS", max_pages=50),
        MachineSpec("gKeOS", max_output=100),
    ):
        home, watcher = await started(homes, spec)
        ending = (await watcher.ends()).ending
        assert ending is not None
        endings.append(ending.kind)
        await home.aclose()
    assert endings == [EndingKind.TIMED_OUT, EndingKind.LIMITED, EndingKind.LIMITED]


async def test_limits_hold_for_machines_that_start_at_once(homes: Homes) -> None:
    endings = []
    for spec in (
        MachineSpec("spin", timeout=0.1),
        MachineSpec("gKeOS", max_pages=50, paging="eager"),
        MachineSpec("gKeOS", max_output=100, seed=1),
    ):
        watcher = Watcher()
        home = await homes.open(spec, watcher, start=True)
        ending = (await watcher.ends()).ending
        assert ending is not None
        endings.append(ending.kind)
        await home.aclose()
    assert endings == [EndingKind.TIMED_OUT, EndingKind.LIMITED, EndingKind.LIMITED]


async def test_a_machine_is_closed_in_every_state(homes: Homes) -> None:
    created = await homes.open(MachineSpec("spin"), Watcher())
    await created.aclose()
    running, watcher = await started(homes, MachineSpec("spin"))
    await running.aclose()
    assert watcher.told[-1] == Status("ended", Ending.stopped())
    paused, watcher = await started(homes, MachineSpec("spin"))
    await paused.pause()
    await paused.aclose()
    assert watcher.told[-1] == Status("ended", Ending.stopped())
