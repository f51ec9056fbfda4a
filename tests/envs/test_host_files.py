"""The files that a host serves, and the errors that they get."""

import io
from collections.abc import Callable

import pytest

from kev.envs.errors import JosError
from kev.envs.files import DiskImages
from kev.envs.josfs_files import JosFsFiles
from kev.fs.disk import Disk
from kev.fs.josfs_mkfs import create_josfs_image
from tests.envs.lab import failure


def josfs() -> tuple[JosFsFiles, io.BytesIO]:
    file = io.BytesIO()
    return JosFsFiles(create_josfs_image(file, "disk", {"vmm/motd": io.BytesIO(b"hi")}, 16 * 4096)), file


def test_a_file_of_the_hosts_disk_is_read_written_and_flushed() -> None:
    files, disk = josfs()
    motd = files.open("/vmm/motd")
    assert (motd.name, motd.size, motd.is_directory, motd.read(0, 99)) == ("motd", 2, False, b"hi")
    motd.write(2, b" there")
    assert b"hi there" not in disk.getvalue()
    motd.flush()
    assert b"hi there" in disk.getvalue()
    motd.resize(1)
    assert files.open("vmm/motd").read(0, 99) == b"h"


def test_what_is_forgotten_is_read_from_the_disk_again() -> None:
    files, _ = josfs()
    files.open("/vmm/motd").write(0, b"HI")
    files.forget()
    assert files.open("/vmm/motd").read(0, 2) == b"hi"


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda files: files.open("/gone"), JosError.NOT_FOUND),
        (lambda files: files.open("/" + "x" * 128), JosError.BAD_PATH),
        (lambda files: files.create("/vmm/motd", directory=False), JosError.FILE_EXISTS),
        (lambda files: files.remove("/vmm"), JosError.BAD_PATH),
        (lambda files: files.open("/vmm/motd").write(0, bytes(20 * 4096)), JosError.NO_DISK),
        (lambda files: files.open("/vmm/motd").resize(1 << 30), JosError.NO_DISK),
    ],
)
def test_errors_of_the_file_system_have_joss_codes(call: Callable[[JosFsFiles], object], code: JosError) -> None:
    files, _ = josfs()
    assert failure(lambda: call(files))[0] is code


def test_guests_disks_come_before_the_hosts_own_files() -> None:
    beside, _ = josfs()
    files = DiskImages(beside)
    files.add(2, Disk(io.BytesIO(bytes(8192)), "image"))
    assert (files.open("/vmm/fs2.img").size, files.open("/vmm/motd").size) == (8192, 2)
    assert files.create("/vmm/fs3.img", directory=False).size == 0
    assert failure(lambda: files.create("/vmm/fs2.img", directory=False))[0] is JosError.FILE_EXISTS
    assert failure(lambda: files.remove("/vmm/fs2.img"))[0] is JosError.INVAL
    files.remove("/vmm/fs3.img")
    assert failure(lambda: files.open("/vmm/fs3.img"))[0] is JosError.NOT_FOUND


def test_a_disk_image_is_read_block_by_block_and_written_through() -> None:
    disk = io.BytesIO(bytes(4 * 4096))
    image = DiskImages().add(1, Disk(disk, "image"))
    image.read(4096, 1024)
    image.read(5120, 1024)
    assert image.cache.sectors_read == 8
    image.write(4096, b"new")
    assert (disk.getvalue()[4096:4099], image.cache.sectors_written) == (b"new", 8)
