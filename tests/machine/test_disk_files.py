"""Files of the host as disks: how they are opened, and who else may use them."""

import os
from pathlib import Path

import pytest

import kev
from kev.machine.disk_files import open_drive
from kev.machine.errors import MachineError
from kev.race.guest.subject import GuestSubject
from kev.spec.files import DiskFile
from kev.spec.machine_spec import MachineSpec
from tests.abi.calls import POWER_OFF, kernel
from tests.boot.images import source
from tests.machine.code import code


@pytest.fixture
def image(tmp_path: Path) -> str:
    file = tmp_path / "disk.img"
    file.write_bytes(bytes(2048))
    return str(file)


def written(image: str, access: str) -> bytes:
    with open_drive(DiskFile(image, "ide", access)) as drive:
        drive.backend.write(512, b"new!")
        buffer = bytearray(4)
        drive.backend.read_into(512, memoryview(buffer))
        assert buffer == b"new!"
    return Path(image).read_bytes()[512:516]


def test_writes_reach_the_file_or_stay_in_memory(image: str) -> None:
    assert written(image, "overlay") == bytes(4)
    assert written(image, "write") == b"new!"


def test_a_file_without_permission_to_write_is_a_disk_that_is_only_read(image: str) -> None:
    os.chmod(image, 0o444)
    for access in ("ro", "overlay"):
        with open_drive(DiskFile(image, "virtio", access)) as drive:
            assert drive.backend.writable is (access == "overlay")
    with open_drive(DiskFile(image, "virtio", "ro")) as drive, pytest.raises(kev.KevError, match="the disk is read-only"):
        drive.backend.write(0, bytes(512))


@pytest.mark.parametrize(
    ("first", "second", "allowed"),
    [
        ("write", "write", False),
        ("write", "overlay", False),
        ("ro", "write", False),
        ("ro", "overlay", True),
        ("overlay", "overlay", True),
    ],
)
def test_two_machines_do_not_share_a_disk_that_one_writes(image: str, first: str, second: str, allowed: bool) -> None:
    with open_drive(DiskFile(image, "ide", first)):
        if allowed:
            with open_drive(DiskFile(image, "ide", second)):
                pass
        else:
            with pytest.raises(MachineError, match="is in use by another machine"), open_drive(DiskFile(image, "ide", second)):
                pass
    with open_drive(DiskFile(image, "ide", second)):
        pass


def special_file(kind: str, folder: Path) -> Path:
    """A FIFO, a folder or a device; the name of nothing for any other kind."""
    if kind == "device":
        return Path("/dev/zero")
    name = folder / "x"
    if kind == "fifo":
        os.mkfifo(name)
    elif kind == "folder":
        name.mkdir()
    return name


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "nothing", "odd"])
def test_what_is_no_disk_is_refused_in_a_line(tmp_path: Path, kind: str) -> None:
    name = special_file(kind, tmp_path)
    if kind == "odd":
        name.write_bytes(bytes(100))
    for access in ("write", "ro", "overlay"):
        with pytest.raises(kev.KevError) as caught, open_drive(DiskFile(str(name), "ide", access)):
            pass
        assert str(name) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"QFI\xfb", "qcow2"),
        (b"KDMV", "vmdk"),
        (b"# Disk DescriptorFile\n", "vmdk"),
        (b"vhdxfile", "vhdx"),
        (b"conectix", "vpc"),
        (bytes(64) + b"\x7f\x10\xda\xbe", "vdi"),
    ],
)
def test_a_disk_in_another_format_is_named_and_not_written_to(tmp_path: Path, head: bytes, name: str) -> None:
    image = tmp_path / "image"
    image.write_bytes(head.ljust(1024, b"\0"))
    message = f"disk {image}: a disk image in .* format: `qemu-img convert -f {name} -O raw` makes one of it that is read here$"
    for access in ("write", "ro", "overlay"):
        with pytest.raises(MachineError, match=message), open_drive(DiskFile(str(image), "ide", access)):
            pass
    with pytest.raises(MachineError, match=message):
        kev.launch("mb1", disks=[str(image)], output=None)
    with pytest.raises(MachineError, match=message):
        GuestSubject.find(MachineSpec("lost-update", vcpus=2, disks=(DiskFile(str(image), "ide", "ro"),)))
    assert image.read_bytes() == head.ljust(1024, b"\0")


def test_one_file_is_not_two_disks_that_are_written(image: str) -> None:
    with pytest.raises(MachineError, match="is in use by another machine, or for another disk of this one"):
        kev.launch("hypercalls", disks=[image, (image, "ide")])


def first_bytes(image: str, overlay: Path, data: bytes = b"") -> bytes:
    """Of a disk to which `data` was written, with a file that keeps it."""
    with open_drive(DiskFile(image, "ide", "overlay", str(overlay))) as drive:
        if data:
            drive.backend.write(0, data)
        buffer = bytearray(4)
        drive.backend.read_into(0, memoryview(buffer))
        return bytes(buffer)


def test_a_file_keeps_what_is_written_and_the_disk_stays_as_it_is(image: str, tmp_path: Path) -> None:
    overlay, other = tmp_path / "overlay", tmp_path / "other"
    assert first_bytes(image, overlay, b"new!") == first_bytes(image, overlay) == b"new!"
    assert first_bytes(image, other) == bytes(4)
    assert Path(image).read_bytes() == bytes(2048)


@pytest.mark.parametrize("changed", [b"x" + bytes(2047), bytes(4096)], ids=["contents", "size"])
def test_a_file_that_kept_writes_to_another_disk_is_refused(image: str, tmp_path: Path, changed: bytes) -> None:
    overlay = tmp_path / "overlay"
    first_bytes(image, overlay, b"new!")
    kept = overlay.read_bytes()
    Path(image).write_bytes(changed)
    with pytest.raises(kev.KevError, match=r"overlay: disk .*disk\.img has changed since: "):
        first_bytes(image, overlay)
    assert overlay.read_bytes() == kept


def test_a_disk_that_was_only_copied_or_touched_is_the_same(image: str, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay"
    first_bytes(image, overlay, b"new!")
    os.utime(image, (1, 1))
    moved = str(tmp_path / "moved.img")
    os.rename(image, moved)
    assert first_bytes(moved, overlay) == b"new!"


def test_one_run_at_a_time_keeps_its_writes_in_a_file(image: str, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay"
    with (
        open_drive(DiskFile(image, "ide", "overlay", str(overlay))),
        pytest.raises(
            MachineError, match=r"overlay: is in use by another machine, .*; it keeps what is written in one run at a time"
        ),
    ):
        first_bytes(image, overlay)
    with pytest.raises(MachineError, match=r"disk\.img: is in use by another machine"):
        first_bytes(image, Path(image))


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "image", "nowhere"])
def test_what_cannot_keep_writes_is_refused_in_a_line_and_left_alone(image: str, tmp_path: Path, kind: str) -> None:
    name = special_file(kind, tmp_path)
    if kind == "image":
        name.write_bytes(b"precious")
    elif kind == "nowhere":
        name = name / "y"
    with pytest.raises(kev.KevError) as caught:
        first_bytes(image, name)
    assert str(name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert kind != "image" or name.read_bytes() == b"precious"


def test_nothing_is_made_for_a_disk_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="cannot be opened"):
        first_bytes(str(tmp_path / "nothing"), tmp_path / "overlay")
    assert not (tmp_path / "overlay").exists()


def test_a_guest_finds_what_it_wrote_in_the_run_before(tmp_path: Path) -> None:
    """It prints the first byte of the IDE channel's second disk, and writes a sector of "k" there."""
    image, overlay = tmp_path / "disk.img", tmp_path / "overlay"
    image.write_bytes(bytes(2048))
    disk = {"path": str(image), "device": "ide", "access": "overlay", "overlay": str(overlay)}
    command = code("66 ba f6 01 b0 f0 ee 66 ba f2 01 b0 01 ee 42 30 c0 ee 42 ee 42 ee 66 ba f7 01")  # drive 1, one sector: 0
    ready = code("ec a8 08 74 fb 66 ba f0 01 b9 00 01 00 00")  # until DRQ; CX words at the data port
    read = command + code("b0 20 ee") + ready + code("bf 00 30 20 00 f3 66 6d a0 00 30 20 00 66 ba f8 03 ee")
    write = command + code("b0 30 ee") + ready + code("be 00 30 20 00 c6 06 6b f3 66 6f")
    guest = source(kernel(read + write + POWER_OFF))
    first, second = (kev.launch(guest, disks=[disk], memory="16M", timeout=30).output for _ in range(2))
    assert (first, second) == (b"\0", b"k")
    assert image.read_bytes() == bytes(2048)
