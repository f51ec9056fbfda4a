"""Snapshots of machines: what goes on from one goes on as if nothing had happened."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kev
from kev.addressing import Gpa
from kev.errors import KevError
from kev.machine.errors import MachineError
from kev.machine.machine import Machine
from kev.machine.snapshot_at import SnapshotAt
from kev.machine.vcpu import Vcpu
from kev.machine.vm import VmObserver
from kev.pager.pages import PageState
from kev.snapshot.errors import SnapshotError
from kev.spec.machine_spec import MachineSpec
from tests.guests.images import read_file
from tests.machine.restoring import End, OtherProcess, held, other_process, run, save, told, uninterrupted

GUESTS = (
    "bootsector",
    "events16",
    "events32",
    "events",
    "user",
    "timer",
    "smp",
    "lost-update",
    "block",
    "virtio-pci",
    "linux-bzimage",
)
"""In every mode, on one vCPU and several, with timers, interrupts and disks."""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[OtherProcess]:
    with other_process() as process:
        yield process


def stopped(machine: Machine, where: float, guest: str) -> End:
    """Runs a part of the guest's instructions."""
    machine.vm.stop_at = max(int(uninterrupted(guest).instructions * where), 1)
    run(machine)
    return told(machine)


@pytest.mark.slow
@pytest.mark.parametrize("guest", GUESTS)
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), compress=st.booleans())
def test_a_machine_that_goes_on_in_another_process_ends_as_if_nothing_had_happened(
    elsewhere: OtherProcess, folder: Path, guest: str, where: float, compress: bool
) -> None:
    with held(guest, seed=1) as machine:
        before = stopped(machine, where, guest)
        save(machine, folder / "snapshot", compress=compress)
    assert elsewhere.end_of(folder / "snapshot").after(before) == uninterrupted(guest)


@pytest.mark.slow
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(guest=st.sampled_from(GUESTS), places=st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=4), data=st.data())
def test_snapshots_of_snapshots_and_differences_to_them_are_as_good(
    elsewhere: OtherProcess, folder: Path, guest: str, places: list[float], data: st.DataObject
) -> None:
    before: End | None = None
    parent = None
    for number, where in enumerate(sorted(places)):
        with held(parent or guest, **{} if parent else {"seed": 1}) as machine:
            part = stopped(machine, where, guest)
            before = part if before is None else part.after(before)
            is_difference = data.draw(st.booleans(), "difference")
            save(machine, folder / str(number), parent=parent if is_difference else None, compress=data.draw(st.booleans()))
        parent = folder / str(number)
    assert parent is not None
    assert before is not None
    assert elsewhere.end_of(parent).after(before) == uninterrupted(guest)


@pytest.mark.parametrize("paging", ["lazy", "eager", "around=16", "prefetch"])
@pytest.mark.parametrize("latency", [None, "100us"])
def test_how_pages_come_makes_no_difference(folder: Path, paging: str, latency: str | None) -> None:
    with held("smp", seed=1) as machine:
        before = stopped(machine, 0.5, "smp")
        save(machine, folder / "snapshot")
    if paging == "prefetch":
        kev.launch(folder / "snapshot", paging=f"record={folder}/set")
        paging = f"prefetch={folder}/set"
    report = kev.launch(folder / "snapshot", paging=paging, source_latency=latency)
    expected = uninterrupted("smp")
    assert (str(report.ending), before.output + report.output) == (expected.ending, expected.output)
    if paging.startswith("prefetch"):
        assert report.paging["missed"] == 0


# Where loads are in flight.


class Suspension(VmObserver):
    """Says when a vCPU waits for a page for the nth time; of exits that were put off, if `unfinished`."""

    def __init__(self, count: int, unfinished: bool) -> None:
        self.happened = trio.Event()
        self._left = count
        self._unfinished = unfinished

    def suspended(self, vcpu: Vcpu, gpa: Gpa) -> None:
        self._left -= vcpu.unfinished is not None or not self._unfinished
        if self._left == 0:
            self.happened.set()


@pytest.mark.parametrize("seed", [1, None])
@pytest.mark.parametrize(("guest", "unfinished"), [("smp", False), ("block", True), ("virtio", True)])
async def test_what_waits_for_a_page_when_it_is_saved_needs_it_when_it_goes_on(
    folder: Path, guest: str, seed: int | None, unfinished: bool
) -> None:
    """A disk's device does, in the midst of a request, whose data is in pages that the guest has not touched since the first."""
    await trio.to_thread.run_sync(_save_at, folder / "first", guest, seed, 0.35)
    async with kev.start(folder / "first", source_latency="2ms", paused=True) as machine:
        suspension = Suspension(1, unfinished)
        machine.observe(suspension)
        await machine.resume()
        with trio.fail_after(60):
            await suspension.happened.wait()
        assert any(vcpu.needs is not None for vcpu in machine.vm.vcpus)
        assert list(machine.vm.pager.pages.runs(PageState.LOADING))
        await machine.pause()
        await machine.snapshot(folder / "second")
        printed = bytes(machine.output)
        await machine.resume()
        report = await machine.wait()
    async with kev.start(folder / "second") as machine:
        again = await machine.wait()
    assert (str(again.ending), again.exit_code) == (str(report.ending), 0)
    if seed is not None:
        assert printed + again.output == report.output


def _save_at(file: Path, guest: str, seed: int | None, where: float) -> None:
    with held(guest, seed=seed) as machine:
        stopped(machine, where, guest)
        save(machine, file)


# The interface.


async def test_a_machine_goes_on_while_its_snapshot_is_kept(folder: Path) -> None:
    async with kev.start("echo") as machine:
        await machine.expect("echo> ", timeout=60)
        await machine.snapshot(folder / "snapshot")
        machine.send("first\n")
        await machine.expect("you said: first", timeout=60)
    for _ in range(2):
        async with kev.start(folder / "snapshot") as machine:
            machine.send("second\n")
            await machine.expect("you said: second", timeout=60)
            counter = machine.symbol("lines_read")
            assert await machine.read(counter.size, gva=counter.address) == b"\1\0\0\0"


def test_whoever_does_not_use_trio_saves_too(folder: Path) -> None:
    with kev.start("echo") as machine:
        machine.expect("echo> ", timeout=60)
        machine.snapshot(folder / "first")
        machine.send("one\n")
        machine.expect("you said: one", timeout=60)
        machine.snapshot(folder / "second", parent=folder / "first", compress=True)
    assert os.stat(folder / "second").st_size < os.stat(folder / "first").st_size
    os.rename(folder, moved := f"{folder}.moved")  # together, they may move
    try:
        with kev.start(f"{moved}/second") as machine:
            machine.send("two\n")
            machine.expect("you said: two", timeout=60)
    finally:
        os.rename(moved, folder)


async def test_a_paused_machine_stays_paused_and_one_that_has_ended_is_refused(folder: Path) -> None:
    async with kev.start("hypercalls", paused=True) as machine:
        await machine.snapshot(folder / "snapshot")
        assert machine.state.value == "paused"
        await machine.resume()
        report = await machine.wait()
        with pytest.raises(MachineError, match="the run has ended: nothing could go on from a snapshot"):
            await machine.snapshot(folder / "other")
    async with kev.start(folder / "snapshot") as machine:
        assert (await machine.wait()).output == report.output
    assert os.listdir(folder) == ["snapshot"]


def test_the_seed_may_be_given_anew(folder: Path) -> None:
    with held("lost-update", seed=1) as machine:
        stopped(machine, 0.1, "lost-update")
        save(machine, folder / "snapshot")
    runs = [kev.launch(folder / "snapshot", seed=seed) for seed in (None, None, 5, 5, *range(6, 16))]
    assert runs[0].exits == runs[1].exits
    assert runs[2].exits == runs[3].exits
    assert len({(run.exit_code, tuple(run.exits.items())) for run in runs}) > 2


def test_the_same_run_is_saved_as_the_same_bytes(folder: Path) -> None:
    for name in "12":
        with held("smp", seed=1) as machine:
            stopped(machine, 0.7, "smp")
            save(machine, folder / name)
    assert (folder / "1").read_bytes() == (folder / "2").read_bytes()


# What is refused.


@pytest.fixture
def saved(folder: Path) -> Path:
    """A snapshot of a kernel that is a file, beside it."""
    (folder / "kernel").write_bytes(read_file("block"))
    (folder / "disk").write_bytes(bytes(64 * 512))
    with held(folder / "kernel", seed=1, disks=[folder / "disk"]) as machine:
        machine.vm.stop_at = 1000
        run(machine)
        save(machine, folder / "snapshot")
    return folder / "snapshot"


@pytest.mark.parametrize(
    ("wishes", "problem"),
    [
        ({"memory": "64M"}, "memory is 256M in the snapshot, and stays so: it cannot be 64M"),
        ({"smp": 2}, "vcpus is 1 in the snapshot"),
        ({"append": "x"}, "command_line is '' in the snapshot"),
        ({"disks": ["other"]}, "disks is "),
    ],
)
def test_what_a_snapshot_fixes_cannot_be_asked_for_differently(saved: Path, wishes: dict[str, object], problem: str) -> None:
    with pytest.raises(SnapshotError, match=problem), kev.start(saved, **wishes):  # type: ignore[arg-type]
        pass


def test_what_is_as_it_was_may_be_said_again(saved: Path) -> None:
    with kev.start(saved, memory="256M", smp=1, timeout=60) as machine:
        machine.stop()


def test_files_that_have_changed_are_refused_by_name(saved: Path) -> None:
    for name, role in (("kernel", "image"), ("disk", "disk")):
        file = saved.parent / name
        contents = file.read_bytes()
        file.write_bytes(contents[:-1] + b"!")
        with pytest.raises(SnapshotError, match=f"{role} {file} has changed since: its contents"), held(saved):
            pass
        file.write_bytes(contents + b"!")
        with pytest.raises(SnapshotError, match=f"{role} {file} has changed since: it has"), held(saved):
            pass
        file.unlink()
        with pytest.raises(SnapshotError, match=f"{role} {file} is missing"), held(saved):
            pass
        file.write_bytes(contents)
    with held(saved):  # other times, but the same bytes
        pass


def test_files_may_have_moved_with_the_snapshot(saved: Path) -> None:
    elsewhere = saved.parent / "elsewhere"
    elsewhere.mkdir()
    for file in ("kernel", "disk", "snapshot"):
        (saved.parent / file).rename(elsewhere / file)
    with held(elsewhere / "snapshot") as machine:
        assert machine.image == str(elsewhere / "kernel")


def test_a_parent_that_is_missing_or_another_is_refused(folder: Path) -> None:
    with held("smp", seed=1) as machine:
        for number, where in enumerate((0.2, 0.4, 0.6)):
            stopped(machine, where, "smp")
            save(machine, folder / str(number), parent=folder / str(number - 1) if number else None)
        with pytest.raises(SnapshotError, match="cannot be a difference to itself"):
            save(machine, folder / "2", parent=folder / "2")
    shutil.copy(folder / "0", folder / "1")
    with pytest.raises(SnapshotError, match=r"its parent .*/1 is another snapshot"), held(folder / "2"):
        pass
    (folder / "1").unlink()
    with pytest.raises(SnapshotError, match=r"its parent .*/1 is missing"), held(folder / "2"):
        pass


def test_a_machine_whose_image_has_no_name_cannot_be_saved(folder: Path) -> None:
    from tests.pager.sources import BytesSource

    source = BytesSource(read_file("hypercalls"))
    with kev.start(source, paused=True) as machine, pytest.raises(SnapshotError, match="is no file, guest or URL"):
        machine.snapshot(folder / "snapshot")


def test_who_wants_it_saved_on_the_way_hears_so_before_it_runs(folder: Path) -> None:
    """A machine that boots from its disk runs until somebody ends it."""
    (folder / "disk").write_bytes(b"\xeb\xfe".ljust(510, b"\0") + b"\x55\xaa")
    spec = MachineSpec(image="", disks=(f"{folder / 'disk'},ide-master",))
    with pytest.raises(SnapshotError, match="a disk that it boots from can be its image"):
        kev.launch(spec, snapshot_at=SnapshotAt("instructions:1000", folder / "snapshot"), timeout=0.5)


def test_every_refusal_is_one_line_and_a_damaged_state_is_one(saved: Path) -> None:
    contents = bytearray(saved.read_bytes())
    damaged = saved.parent / "damaged"
    for offset in range(0, len(contents), 1009):
        contents[offset] ^= 0x40
        damaged.write_bytes(contents)
        contents[offset] ^= 0x40
        try:
            with held(damaged) as machine:
                run(machine)
                told(machine)
                ending = str(machine.vm.ending)
        except KevError as error:
            ending = str(error)
        assert "\n" not in ending
        assert "damaged" in ending or "no snapshot" in ending or "neither an ELF file" in ending


# Elsewhere.


@pytest.mark.parametrize("paging", ["lazy", "eager", "around=16"])
def test_a_snapshot_may_be_behind_a_url_and_its_parent_beside_it(folder: Path, paging: str) -> None:
    with held("smp", seed=1) as machine:
        stopped(machine, 0.2, "smp")
        save(machine, folder / "first")
        before = stopped(machine, 0.5, "smp")
        save(machine, folder / "second", parent=folder / "first", compress=True)
    report = kev.launch(f"file://{folder}/second", paging=paging, timeout=60)
    expected = uninterrupted("smp")
    assert (str(report.ending), before.output + report.output) == (expected.ending, expected.output)


async def test_what_has_not_come_yet_is_awaited_for_a_snapshot(folder: Path) -> None:
    await trio.to_thread.run_sync(_save_at, folder / "first", "smp", 1, 0.5)
    async with kev.start(f"file://{folder}/first", source_latency=None, paused=True) as machine:
        await machine.snapshot(folder / "second")
    os.unlink(folder / "first")
    async with kev.start(folder / "second") as machine:
        report = await machine.wait()
    assert uninterrupted("smp").output.endswith(report.output)


async def test_a_machine_is_saved_whole_whatever_is_asked_of_it_meanwhile(folder: Path) -> None:
    """Its pages are awaited for that, so that others get their turn."""
    await trio.to_thread.run_sync(_save_at, folder / "first", "smp", 1, 0.5)
    for name in ("second", "third"):
        async with kev.start(folder / "first", source_latency="1ms", paused=True) as machine, trio.open_nursery() as nursery:
            nursery.start_soon(machine.snapshot, folder / name)
            await trio.testing.wait_all_tasks_blocked(0.0)
            if name == "third":
                await machine.resume()
    assert (folder / "second").read_bytes() == (folder / "third").read_bytes()


async def test_a_machine_that_is_closed_while_it_is_saved_leaves_no_snapshot(folder: Path) -> None:
    await trio.to_thread.run_sync(_save_at, folder / "first", "smp", 1, 0.5)
    async with trio.open_nursery() as nursery, kev.start(folder / "first", source_latency="100ms", paused=True) as machine:
        nursery.start_soon(_refused, machine, folder / "second")
        await trio.testing.wait_all_tasks_blocked(0.0)
    assert os.listdir(folder) == ["first"]


async def _refused(machine: Machine, file: Path) -> None:
    with pytest.raises(MachineError, match="the machine is closed: there is nothing to save"):
        await machine.snapshot(file)


def test_compression_needs_its_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with held("smp", seed=1) as machine:
        stopped(machine, 0.2, "smp")
        save(machine, folder / "snapshot", compress=True)
        monkeypatch.setitem(sys.modules, "zstandard", None)
        with pytest.raises(SnapshotError, match=r"other: a compressed .* needs zstandard: `pip install kev-hypervisor\[zstd\]`"):
            save(machine, folder / "other", compress=True)
    with pytest.raises(SnapshotError, match="snapshot: a compressed snapshot needs zstandard"), held(folder / "snapshot"):
        pass
    assert os.listdir(folder) == ["snapshot"]
