"""Files of the host as disks: how they are opened, and who else may use them."""

import os
from pathlib import Path

import pytest

import kev
from kev.machine.disk_files import open_drive
from kev.machine.errors import MachineError
from kev.spec.files import DiskFile


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


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "nothing", "odd"])
def test_what_is_no_disk_is_refused_in_a_line(tmp_path: Path, kind: str) -> None:
    name = tmp_path / "x"
    if kind == "fifo":
        os.mkfifo(name)
    elif kind == "folder":
        name.mkdir()
    elif kind == "device":
        name = Path("/dev/zero")
    elif kind == "odd":
        name.write_bytes(bytes(100))
    for access in ("write", "ro", "overlay"):
        with pytest.raises(kev.KevError) as caught, open_drive(DiskFile(str(name), "ide", access)):
            pass
        assert str(name) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_one_file_is_not_two_disks_that_are_written(image: str) -> None:
    with pytest.raises(MachineError, match="is in use by another machine, or for another disk of this one"):
        kev.launch("hypercalls", disks=[image, (image, "ide")])
