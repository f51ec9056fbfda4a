"""SIMPLEFS, the disk format of KeOS: files without directories, back to back.

All integers are little-endian, all padding is zeros. Sector 0 is the superblock: "SIMPLEFS", u64 size of the disk in bytes. Then
comes file after file: a header sector (u64 length of the name in bytes, u64 size of the file in bytes, the name in UTF-8), then the
contents, padded to whole sectors. A header without a name is that of the free space: it reaches to the end of the disk, and its
size is what is behind the header, or 0 on a disk that is all zeros from there on.
"""

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from kev.fs.disk import SECTOR_SIZE, Disk, sector_count
from kev.fs.errors import SimpleFsError
from kev.fs.file import COPY_SIZE, File

MAX_NAME: Final = SECTOR_SIZE - 16
"""How long a file's name can be, in bytes of UTF-8."""

MOST_FILES: Final = 1 << 16
"""On a disk that is read."""
_LOOKED_AT: Final = 16 << 20
"""How many bytes of free space are looked at, whether they are zeros."""
_MAGIC: Final = b"SIMPLEFS"
_SUPERBLOCK: Final = struct.Struct("<8sQ")
_HEADER: Final = struct.Struct(f"<QQ{MAX_NAME}s")


class FileEntry(NamedTuple):
    """A file as its header describes it."""

    name: str
    size: int
    """In bytes."""
    sector: int
    """Where its header lies."""

    @property
    def start(self) -> int:
        """The byte of the disk at which its contents begin."""
        return (self.sector + 1) * SECTOR_SIZE

    @property
    def end_sector(self) -> int:
        """The first sector behind it."""
        return self.sector + 1 + sector_count(self.size)


class SimpleFs:
    """The files of a disk. Every header is read and checked once, when the disk is opened: they never change afterwards."""

    __slots__ = ("disk", "files")

    def __init__(self, disk: Disk) -> None:
        """SimpleFsError if the disk is damaged: it says what is wrong in which sector."""
        _check_superblock(disk)
        self.disk: Final = disk
        self.files: Final[Mapping[str, FileEntry]] = MappingProxyType(_read_headers(disk))
        """The files by name, in the order in which they lie on the disk."""

    def open(self, name: str) -> File:
        """SimpleFsError if there is no file of that name."""
        entry = self.files.get(name)
        if entry is None:
            raise SimpleFsError(f"{self.disk.name}: no file is named {name!r}: the disk has {len(self.files)} others")
        return File(self.disk, name, entry.start, entry.size)


def is_simplefs(disk: Disk) -> bool:
    """The disk begins as one of these does."""
    return disk.sectors > 0 and disk.read_sector(0).startswith(_MAGIC)


def encode_superblock(size: int) -> bytes:
    """Sector 0 of a disk of `size` bytes."""
    return _SUPERBLOCK.pack(_MAGIC, size).ljust(SECTOR_SIZE, b"\0")


def encode_header(name: str, size: int) -> bytes:
    """The header sector of a file of `size` bytes. SimpleFsError if the name cannot be used."""
    if not name or "\0" in name:
        raise SimpleFsError(f"a file cannot be named {name!r}: a name has one byte or more, and no NUL")
    try:
        encoded = name.encode()
    except UnicodeEncodeError as error:
        raise SimpleFsError(f"the name {name!r} cannot be written as UTF-8: {error.reason}") from error
    if len(encoded) > MAX_NAME:
        raise SimpleFsError(f"the name {name!r} has {len(encoded)} bytes: at most {MAX_NAME} fit")
    return _HEADER.pack(len(encoded), size, encoded)


def encode_free_space(size: int) -> bytes:
    """The header sector of `size` bytes of free space."""
    return _HEADER.pack(0, size, b"")


def _damaged(disk: Disk, sector: int, what: str) -> SimpleFsError:
    return SimpleFsError(f"{disk.name}: sector {sector}: {what}")


def _check_superblock(disk: Disk) -> None:
    if not disk.sectors:
        raise _damaged(disk, 0, "the disk is empty, it has no superblock")
    magic, size = _SUPERBLOCK.unpack_from(disk.read_sector(0))
    if magic != _MAGIC:
        raise _damaged(disk, 0, f"not a SIMPLEFS disk: it begins with {magic!r} instead of {_MAGIC!r}")
    if size != disk.size:
        raise _damaged(disk, 0, f"the superblock is for a disk of {size} bytes, this one has {disk.size}")


def _read_headers(disk: Disk) -> dict[str, FileEntry]:
    files: dict[str, FileEntry] = {}
    sector = 1
    while sector < disk.sectors and (entry := _read_header(disk, sector)):
        if entry.name in files:
            first = files[entry.name].sector
            raise _damaged(disk, sector, f"the name {entry.name!r} is already that of the file in sector {first}")
        if len(files) == MOST_FILES:
            raise _damaged(disk, sector, f"another file begins, and {MOST_FILES} are there already: no disk is read with more")
        files[entry.name] = entry
        sector = entry.end_sector
    return files


def _read_header(disk: Disk, sector: int) -> FileEntry | None:
    """The file whose header is in `sector`, or None if free space begins there."""
    name_length, size, name = _HEADER.unpack(disk.read_sector(sector))
    if name_length > MAX_NAME:
        raise _damaged(disk, sector, f"a name of {name_length} bytes: at most {MAX_NAME} fit")
    if name[name_length:].strip(b"\0"):
        raise _damaged(disk, sector, f"a name of {name_length} bytes, yet more follows it")
    left = disk.size - (sector + 1) * SECTOR_SIZE
    if not name_length:
        _check_free_space(disk, sector, size, left)
        return None
    entry = FileEntry(_decode_name(disk, sector, name[:name_length]), size, sector)
    if size > left:
        raise _damaged(
            disk, sector, f"the file {entry.name!r} of {size} bytes runs past the end of the disk: {left} bytes are left"
        )
    return entry


def _decode_name(disk: Disk, sector: int, name: bytes) -> str:
    try:
        decoded = name.decode()
    except UnicodeDecodeError as error:
        raise _damaged(disk, sector, f"the name is not UTF-8: byte {name[error.start]:#04x} at position {error.start}") from error
    if "\0" in decoded:
        raise _damaged(disk, sector, f"the name {decoded!r} holds a NUL")
    return decoded


def _check_free_space(disk: Disk, sector: int, size: int, left: int) -> None:
    """Finds out a header that is none: one that a wrong size makes of zeros in some file's contents."""
    if size not in (0, left):
        raise _damaged(disk, sector, f"free space of {size} bytes, but {left} bytes are left")
    if not size:
        _check_zeros(disk, sector)


def _check_zeros(disk: Disk, header: int) -> None:
    """Free space whose header does not say its size, as on a disk that was never formatted to its end, must hold nothing.

    Its beginning is looked at: a header that is none lies in a file's contents, which go on behind it.
    """
    buffer = bytearray(COPY_SIZE)
    zeros = bytes(COPY_SIZE)
    begin = (header + 1) * SECTOR_SIZE
    for offset in range(begin, min(disk.size, begin + _LOOKED_AT), COPY_SIZE):
        disk.read_into(offset, memoryview(buffer)[: disk.size - offset])
        if buffer != zeros:
            raise _damaged(disk, header, "free space of 0 bytes, yet what follows is not empty")
