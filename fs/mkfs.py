"""Makes a SIMPLEFS image from files."""

from collections.abc import Iterator, Mapping
from typing import BinaryIO, Final

from kev.fs.disk import SECTOR_SIZE, Disk
from kev.fs.errors import SimpleFsError
from kev.fs.file import File, stream_length
from kev.fs.simplefs import FileEntry, SimpleFs, encode_free_space, encode_header, encode_superblock

MAX_FILE_OFFSET: Final = (1 << 63) - 1
"""POSIX counts the bytes of a file in a signed 64-bit off_t."""


def create_image(image: BinaryIO, name: str, contents: Mapping[str, BinaryIO], size: int | None = None) -> SimpleFs:
    """Turns `image`, a file open for reading and writing, into a disk with these files; what it held is lost.

    `contents` are seekable streams by file name. `size` is that of the disk in bytes, by default what the files need. `name` is
    what errors call the disk. SimpleFsError if a name cannot be used or the files do not fit, before `image` is touched.
    """
    entries = list(_lay_out({file: stream_length(stream, file) for file, stream in contents.items()}))
    free_sector = entries[-1].end_sector if entries else 1
    size = _disk_size(name, free_sector * SECTOR_SIZE, size)
    sectors = {0: encode_superblock(size)} | {entry.sector: encode_header(entry.name, entry.size) for entry in entries}
    if free_sector * SECTOR_SIZE < size:
        sectors[free_sector] = encode_free_space(size - (free_sector + 1) * SECTOR_SIZE)
    disk = blank_disk(image, name, size)
    for sector, data in sectors.items():
        disk.write_sector(sector, data)
    fs = SimpleFs(disk)
    for entry in entries:
        _fill(fs.open(entry.name), contents[entry.name])
    return fs


def _lay_out(lengths: Mapping[str, int]) -> Iterator[FileEntry]:
    sector = 1
    for file, length in lengths.items():
        entry = FileEntry(file, length, sector)
        yield entry
        sector = entry.end_sector


def _disk_size(name: str, needed: int, size: int | None) -> int:
    if size is None:
        return needed
    if size % SECTOR_SIZE:
        raise SimpleFsError(f"{name}: a size of {size} bytes is not a multiple of {SECTOR_SIZE}")
    if size < needed:
        raise SimpleFsError(f"{name}: a size of {size} bytes is too small: the files need {needed}")
    if size > MAX_FILE_OFFSET:
        raise SimpleFsError(f"{name}: a size of {size} bytes is too large: no file can have more than {MAX_FILE_OFFSET}")
    return size


def _fill(file: File, contents: BinaryIO) -> None:
    copied = file.overwrite(contents)
    if copied != file.size:
        raise SimpleFsError(f"{file.name!r}: changed while it was read: {copied} bytes instead of {file.size}")


def blank_disk(image: BinaryIO, name: str, size: int) -> Disk:
    """A disk of zeros, which take no space where the operating system knows sparse files."""
    try:
        image.truncate(0)
        image.seek(size - 1)
        image.write(b"\0")
    except OSError as error:
        raise SimpleFsError(f"{name}: cannot be made {size} bytes long: {error.strerror}") from error
    return Disk(image, name)
