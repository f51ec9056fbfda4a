"""`kev.launch`: a guest in one call."""

import io
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import kev
from kev.addressing import Gpa, Gva
from kev.dev.storage.drive import Drive, DriveKind
from kev.fs.disk import Disk
from kev.fs.mkfs import create_image
from kev.guests.images import open_image
from kev.machine.builder import MachineOptions
from kev.machine.ending import EndingKind
from kev.machine.launcher import prepare
from kev.pager.image import Segment
from kev.pager.policy import Eager
from kev.pager.slow_source import SourceDelay
from kev.pager.source import read_bytes
from kev.spec.errors import SpecError
from tests.boot.images import MIB
from tests.machine.code import SPIN
from tests.pager.elf import HEADER_SIZE, PROGRAM_HEADER_SIZE, ElfSymbol, add_symbols, build_elf

GREETING = b"gKeOS, a KeOS-style guest kernel\n"
ACPI_TABLES = Gpa(0xF2000)
HELLO = b"Hello guest os!\n"


def contents(name: str) -> bytes:
    with open_image(name) as (source, _):
        return read_bytes(source, 0, source.size)


def test_what_the_guest_prints_is_in_the_report() -> None:
    report = kev.launch("gKeOS")
    assert report.output.startswith(GREETING)
    assert report.output.endswith(HELLO)
    assert report.exit_code == 0


def test_whoever_asks_for_the_output_gets_it_as_it_comes() -> None:
    pieces: list[bytes] = []
    report = kev.launch("gKeOS", output=pieces.append)
    assert pieces[0] == GREETING
    assert pieces[-1] == HELLO
    assert report.output == b""
    assert "output" not in report.as_dict()


def test_a_file_is_launched_by_its_path(tmp_path: Path) -> None:
    image = tmp_path / "kernel"
    image.write_bytes(contents("hypercalls"))
    for path in (image, str(image)):
        report = kev.launch(path)
        assert (report.image, report.exit_code) == (str(image), 42)


def test_a_source_of_bytes_is_launched() -> None:
    with open_image("hypercalls") as (source, _):
        assert kev.launch(source).output == b"printed by a hypercall\n"


def test_a_guest_gets_the_machine_it_wants_unless_told_otherwise() -> None:
    assert kev.launch("smp").exit_code == 0
    assert kev.launch("gKeOS").ram_pages == 256 * 256
    assert kev.launch("gKeOS", memory=32 << 20).ram_pages == 32 * 256


def test_a_repeatable_run_waits_for_each_page_once_whoever_is_first() -> None:
    reports = [kev.launch("smp", vcpus=4, seed=7, source_latency="10us") for _ in range(10)]
    assert len({report.page_waits for report in reports}) == 1


def test_the_command_line_and_modules_reach_the_kernel(tmp_path: Path) -> None:
    module = tmp_path / "module"
    module.write_bytes(b"contents of a module")
    output = kev.launch("mb2info", command_line="from a test", modules=[(module, "its text")]).output.decode()
    assert "from a test" in output
    assert "its text" in output


DEVICES_OF_DISKS = [kind for kind in DriveKind if kind is not DriveKind.IPC]


@pytest.mark.parametrize("kind", DEVICES_OF_DISKS)
def test_the_acpi_tables_list_a_disk_that_is_found_in_no_other_way(kind: DriveKind) -> None:
    options = MachineOptions(drives=(Drive(Disk(io.BytesIO(bytes(4096)), "disk"), kind),))
    with open_image("gKeOS") as (source, _):
        vm = prepare(source, options=options, output=bytes).vm
    assert vm.pager.try_load_page(ACPI_TABLES)
    frame = vm.pager.gpa2hpa(ACPI_TABLES)
    assert frame is not None
    assert (b"LNRO0005" in bytes(vm.pager.memory.page(frame))) == (kind is DriveKind.VIRTIO)
    vm.engine.close()
    vm.pager.close()


def test_the_pci_bus_is_there_and_in_the_acpi_tables_if_there_is_something_on_it() -> None:
    kinds = {kind: _pci(kind) for kind in DEVICES_OF_DISKS}
    bridge, ide, virtio = (0, "8086:1237"), [(1, "8086:7000"), (1, "8086:7010")], (4, "1af4:1001")
    assert kinds == {
        DriveKind.SVIRTB: ([], False),
        DriveKind.VIRTIO: ([], False),
        DriveKind.VIRTIO_PCI: ([bridge, virtio], True),
        DriveKind.IDE: ([bridge, *ide], True),
        DriveKind.IDE_MASTER: ([bridge, *ide], True),
        DriveKind.IDE_SECONDARY: ([bridge, *ide], True),
        DriveKind.CDROM: ([bridge, *ide], True),
    }


def _pci(kind: DriveKind) -> tuple[list[tuple[int, str]], bool]:
    """What is on the bus, and whether the tables have it."""
    options = MachineOptions(drives=(Drive(Disk(io.BytesIO(bytes(4096)), "disk"), kind),))
    with open_image("gKeOS") as (source, _):
        vm = prepare(source, options=options, output=bytes).vm
    assert vm.pager.try_load_page(ACPI_TABLES)
    frame = vm.pager.gpa2hpa(ACPI_TABLES)
    assert frame is not None
    found = vm.buses.pci.identities(), b"PCI0" in bytes(vm.pager.memory.page(frame))
    vm.engine.close()
    vm.pager.close()
    return found


@pytest.mark.parametrize(("guest", "kind"), [("block", "svirtb"), ("virtio", "virtio"), ("virtio-pci", "virtio-pci")])
def test_a_guest_finds_a_disk_behind_the_device_that_was_asked_for(tmp_path: Path, guest: str, kind: str) -> None:
    path = tmp_path / "disk"
    with path.open("w+b") as file:
        create_image(file, "disk", {"message": io.BytesIO(bytes(4096))})
    report = kev.launch(guest, disks=[(path, kind)])
    assert report.exit_code == 0, report.output.decode()


def test_svirtb_takes_a_disk_that_is_no_multiple_of_a_sector(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(1074))
    with kev.start("spin", disks=[path]) as machine:
        machine.stop()
    with pytest.raises(kev.KevError, match="1074"):
        kev.launch("spin", disks=[(path, "virtio")], timeout=0.1)


@pytest.mark.parametrize(
    ("kind", "count", "message"),
    [("ide", 3, "3 disks behind ide: there can be 2"), ("virtio-pci", 29, "29 disks behind virtio-pci: there can be 28")],
)
def test_more_disks_than_there_is_room_for_are_refused(tmp_path: Path, kind: str, count: int, message: str) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(512))
    with pytest.raises(kev.KevError, match=message):
        kev.launch("hypercalls", disks=[(path, kind, "ro")] * count)


def test_disks_on_the_pci_bus_are_there_in_the_order_that_was_asked_for(tmp_path: Path) -> None:
    paths = [tmp_path / "first", tmp_path / "second"]
    for path in paths:
        path.write_bytes(bytes(512))
    output = kev.launch("gKeOS", disks=[(path, "virtio-pci") for path in paths]).output.decode()
    assert "device 0: 8086:1237" in output
    assert "device 4: 1af4:1001" in output
    assert "device 5: 1af4:1001" in output
    assert "device 6" not in output


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"vcpus": 0}, "vcpus: 0: a machine has 1 to 64 vCPUs"),
        ({"boot": "grub"}, "boot: 'grub': there is no such boot protocol"),
        ({"memory": 0}, "memory: 0: 0 bytes are too few: the least is 1M"),
        (
            {"disks": [("disk", "floppy")]},
            "disks: disk: 'floppy': there is no such device for a disk: there are svirtb, virtio, virtio-pci, ide, ide-master, "
            "ide-secondary, cdrom, ipc",
        ),
        (
            {"disks": [("no/such/disk", "ide")]},
            "disk no/such/disk: cannot be opened for reading and writing: No such file or directory",
        ),
        ({"memory": "lots"}, "memory: 'lots': it must be a size such as 256M or 4G"),
        ({"timeout": -1}, "timeout: -1: it must be seconds, more than 0 and at most 1,000,000,000, such as 2.5, "),
        ({"paging": "eagr"}, "paging: 'eagr': is it 'eager'"),
        ({"modules": ["x"]}, "x: cannot be opened: No such file or directory"),
        ({"source_delay": 1}, "source_delay: a machine's description has no such field; is it 'source_latency'?"),
        ({"modules": [("no/such/module", "")]}, "no/such/module: cannot be opened: No such file or directory"),
    ],
)
def test_a_wish_that_cannot_be_granted_is_refused_by_name(wishes: dict[str, object], message: str) -> None:
    with pytest.raises(kev.KevError, match=message):
        kev.launch("hypercalls", **wishes)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["output", "log", "trace_exits", "warn", "at_start", "at_end"])
def test_what_cannot_be_called_is_refused_by_name(name: str) -> None:
    with pytest.raises(kev.KevError) as caught:
        kev.launch("hypercalls", **{name: True})  # type: ignore[arg-type]
    assert str(caught.value) == f"{name}: True: it must be something to call"


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"logs": 3}, "logs: 3: it must be names of logs"),
        ({"input_descriptor": "stdin"}, "input_descriptor: 'stdin': it must be the number of a descriptor"),
        ({"snapshot_at": "output:x"}, "snapshot_at: 'output:x': it must be a kev.machine.snapshot_at.SnapshotAt"),
    ],
)
def test_how_a_run_is_watched_is_refused_by_name(wish: dict[str, object], message: str) -> None:
    with pytest.raises(kev.KevError) as caught:
        kev.launch("hypercalls", **wish)  # type: ignore[arg-type]
    assert str(caught.value) == message


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
def test_a_record_that_cannot_be_written_does_not_hide_how_the_run_has_ended() -> None:
    with pytest.raises(kev.KevError) as caught:
        kev.launch("hypercalls", paging="record=/dev/full")
    written = "/dev/full: cannot be written: No space left on device"
    assert str(caught.value) == f"{written}; the run had ended: exit code 42, by the guest"
    assert caught.value.report.exit_code == 42
    assert caught.value.report.output == b"printed by a hypercall\n"


def test_the_name_of_one_log_will_do() -> None:
    lines: list[bytes] = []
    assert kev.launch("gKeOS", logs="cr3", log=lines.append).exit_code == 0
    assert lines


class NegativeSize:
    name = "reads"
    size = -5

    def read_into(self, offset: int, buffer: memoryview) -> int:
        raise AssertionError


class AsynchronousReads:
    """A source that has to be awaited, and does not say so."""

    name = "reads"
    size = 4096

    async def read_into(self, offset: int, buffer: memoryview) -> int:
        raise AssertionError


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (5, "image: 5: it must be a file, the name of a guest, a URL, or a source with name, size and read_into"),
        ("", "image: '': no file has such a name"),
        (kev.MachineSpec(smp=2), "image: the description names none"),
        (NegativeSize(), "image: -5: the size of reads must be a number of bytes"),
        (AsynchronousReads(), "image: 'reads': read_into is a coroutine function, but headers cannot be awaited: derive it from "),
    ],
)
def test_what_is_no_image_is_refused(image: Any, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        kev.launch(image)
    assert str(caught.value).startswith(message)


def test_a_description_is_launched_and_keywords_override_it() -> None:
    spec = kev.MachineSpec("gKeOS", memory="32M", paging="eager")
    assert kev.launch(spec).ram_pages == 32 * 256
    report = kev.launch(spec, memory="64M", paging="around=16")
    assert (report.ram_pages, report.paging["policy"]) == (64 * 256, "around=16")


def test_what_is_recorded_is_written_when_the_run_is_over(tmp_path: Path) -> None:
    file = tmp_path / "set.json"
    recorded = kev.launch("gKeOS", paging=f"record={file}")
    prefetched = kev.launch("gKeOS", paging=f"prefetch={file}")
    assert prefetched.pages_loaded == recorded.pages_loaded
    assert prefetched.paging["missed"] == 0


def test_values_are_understood_as_on_the_command_line(tmp_path: Path) -> None:
    module = tmp_path / "module"
    module.write_bytes(b"contents of a module")
    report = kev.launch("mb2info", memory="64M", smp=2, append="from a test", modules=[f"{module} its text"], timeout="60")
    assert report.ram_pages == 64 * 256
    assert "from a test" in report.output.decode()
    assert "its text" in report.output.decode()


def test_a_machine_that_is_held_is_described_in_the_same_way() -> None:
    with kev.start(kev.MachineSpec("gKeOS", memory="32M"), smp=2, timeout=60) as machine:
        machine.expect("Hello guest os!")
        assert machine.vcpus == 2
    with pytest.raises(SpecError, match="timeout: -1: it must be seconds"), kev.start("gKeOS", timeout=-1):
        raise AssertionError


def test_an_image_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(kev.KevError, match="no-such-guest: there is no such file, and no such guest on the root file system"):
        kev.launch("no-such-guest")


def test_a_guest_that_dies_is_no_error() -> None:
    report = kev.launch("triple")
    assert report.ending.kind is EndingKind.DIED
    assert "triple fault" in report.ending.message
    assert report.exit_code == 3


def test_a_timeout_ends_the_guest() -> None:
    report = kev.launch("spin", timeout=0.1)
    assert report.ending.kind is EndingKind.TIMED_OUT


def test_paging_and_timeline_are_as_asked_for() -> None:
    report = kev.launch("hypercalls", paging=Eager(), timeline=True)
    assert report.paging["policy"] == "eager"
    assert report.violations == 0
    assert report.timeline is not None


def test_a_slow_source_is_waited_for() -> None:
    report = kev.launch("hypercalls", source_latency=SourceDelay(0.001))
    assert report.page_waits == 1
    assert report.output == b"printed by a hypercall\n"


def test_a_seed_repeats_a_run_bit_for_bit_whatever_ran_before() -> None:
    first = kev.launch("smp", seed=5)
    kev.launch("events")
    again = kev.launch("smp", seed=5)
    assert (again.output, again.exits, again.pages_loaded) == (first.output, first.exits, first.pages_loaded)


def test_many_guests_run_in_one_process() -> None:
    reports = [kev.launch("hypercalls") for _ in range(50)]
    assert {(report.exit_code, report.output) for report in reports} == {(42, b"printed by a hypercall\n")}


async def test_guests_run_side_by_side_in_a_trio_program() -> None:
    reports: list[kev.RunReport] = []

    async def launch(name: str) -> None:
        reports.append(await trio.to_thread.run_sync(partial(kev.launch, name)))

    async with trio.open_nursery() as nursery:
        for name in ("gKeOS", "smp", "hypercalls"):
            nursery.start_soon(launch, name)
    assert sorted(report.exit_code for report in reports) == [0, 0, 42]


def test_an_unknown_name_is_no_part_of_kev() -> None:
    with pytest.raises(AttributeError, match="module 'kev' has no attribute 'lunch'"):
        _ = kev.lunch  # type: ignore[attr-defined]


def test_a_run_that_is_cut_short_says_where_every_vcpu_is(tmp_path: Path) -> None:
    headers = HEADER_SIZE[32] + PROGRAM_HEADER_SIZE[32]
    segment = Segment(Gpa(MIB), Gva(MIB), headers, len(SPIN), len(SPIN), 5)
    image = tmp_path / "kernel"
    image.write_bytes(add_symbols(build_elf([segment], MIB, SPIN, 32), [ElfSymbol("wait", MIB, len(SPIN))]).data)
    report = kev.launch(image, timeout=0.1, vcpus=2)
    assert report.ending.message == ("timed out after 0.1 s: vCPU 0 at RIP 0x100000 in wait, vCPU 1 waits for a start-up IPI")
