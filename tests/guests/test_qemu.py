"""The guests on a machine that is not ours: what they expect of it is what a PC does."""

import shutil
import subprocess
from pathlib import Path

import pytest

from kev.fs.mkfs import create_image
from tests.guests.images import read_file
from tests.guests.protocol import assert_all_checks_hold

QEMU = shutil.which("qemu-system-x86_64")
DEBUG_EXIT = ("-device", "isa-debug-exit,iobase=0xf4,iosize=4")
PASSED, FAILED = 1, 3
"""QEMU's exit codes for 0 and 1."""
MICROVM = ("-M", "microvm,ioapic2=off", "-global", "virtio-mmio.force-legacy=false")
LAST_TRANSPORT = "virtio_mmio.device=512@0xfeb00e00:23"
"""Where the first device of that machine is."""

pytestmark = pytest.mark.skipif(QEMU is None, reason="qemu-system-x86_64 is not installed")


def run(*arguments: str) -> tuple[int, str]:
    """QEMU's exit code and what the guest wrote to COM1 after the firmware's own lines."""
    command = [str(QEMU), "-accel", "tcg", "-cpu", "max", "-nodefaults", "-display", "none", "-serial", "stdio", *arguments]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    return result.returncode, result.stdout.replace("\r", "")


def boot(guest: str, directory: Path, *arguments: str) -> tuple[int, str]:
    image = directory / guest
    image.write_bytes(read_file(guest))
    return run("-kernel", str(image), *arguments)


def test_mb1_prints_its_banner_first_and_hello_last(tmp_path: Path) -> None:
    _, output = boot("mb1", tmp_path)
    lines = output.splitlines()
    assert lines[0] == "gKeOS, a KeOS-style guest kernel"
    assert lines[-2:] == ["subsystems: 24 of 384 started", "Hello guest os!"]


def test_mb1_prints_the_memory_map(tmp_path: Path) -> None:
    _, output = boot("mb1", tmp_path, "-m", "64")
    assert "  0x0000000000100000-0x0000000003fdffff usable\n" in output


def test_mb1_ends_through_the_debug_exit_port_with_value_0(tmp_path: Path) -> None:
    code, _ = boot("mb1", tmp_path, *DEBUG_EXIT)
    assert code == 1


@pytest.mark.parametrize(("guest", "output"), [("mb1", "os!\n"), ("loop", "<>"), ("touch", "wrx\n")])
def test_a_guest_powers_off_where_there_is_no_debug_exit(tmp_path: Path, guest: str, output: str) -> None:
    code, text = boot(guest, tmp_path)
    assert code == 0
    assert text.endswith(output)


@pytest.mark.parametrize(
    ("guest", "arguments"),
    [
        ("events16", ()),
        ("events32", ()),
        ("user", ()),
        ("ports", ()),
        ("timer", ()),
        ("smp", ()),
        ("smp", ("-smp", "4,sockets=4")),
    ],
)
def test_all_checks_hold(tmp_path: Path, guest: str, arguments: tuple[str, ...]) -> None:
    code, output = boot(guest, tmp_path, *DEBUG_EXIT, *arguments)
    assert_all_checks_hold(output)
    assert code == PASSED


@pytest.mark.parametrize(
    ("guest", "device", "arguments"),
    [
        ("virtio", "virtio-blk-device", (*MICROVM, "-append", LAST_TRANSPORT)),
        ("virtio-pci", "virtio-blk-pci", ()),
    ],
)
def test_virtio_drives_another_implementation_of_its_device(
    tmp_path: Path, guest: str, device: str, arguments: tuple[str, ...]
) -> None:
    disk = tmp_path / "disk.img"
    with disk.open("w+b") as image, Path(__file__).open("rb") as file:
        create_image(image, disk.name, {"file": file})
    drive = ("-drive", f"id=disk,file={disk},format=raw,if=none", "-device", f"{device},drive=disk")
    before = disk.read_bytes()
    _, output = boot(guest, tmp_path, *arguments, *DEBUG_EXIT, *drive)
    assert_all_checks_hold(output)
    assert disk.read_bytes() == before


@pytest.mark.parametrize("guest", ["lost-update", "bad-spinlock", "boot-race"])
def test_a_race_is_won_or_lost_and_ends_either_way(tmp_path: Path, guest: str) -> None:
    code, _ = boot(guest, tmp_path, *DEBUG_EXIT, "-smp", "2")
    assert code in (PASSED, FAILED)


@pytest.mark.parametrize("guest", ["mb1info", "pvh"])
def test_a_guest_prints_what_its_boot_protocol_gives(tmp_path: Path, guest: str) -> None:
    module = tmp_path / "module"
    module.write_text("first line\nsecond line\n")
    code, output = boot(guest, tmp_path, *DEBUG_EXIT, "-append", "one two", "-initrd", str(module))
    assert code == PASSED
    assert 'one two"\n' in output
    assert "23 bytes: first line\n" in output
    assert "  0x0000000000100000-0x0000000007fdffff usable\n" in output


def test_a_boot_sector_boots_from_a_floppy_disk(tmp_path: Path) -> None:
    floppy = tmp_path / "floppy"
    floppy.write_bytes(read_file("bootsector"))
    code, output = run("-drive", f"file={floppy},format=raw,if=floppy")
    assert code == 0
    assert output.endswith("Hello from a boot sector, in real mode.\n")
