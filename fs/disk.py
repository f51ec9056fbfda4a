"""A disk: 512-byte sectors backed by a file."""

import io
import os
from array import array
from typing import BinaryIO, Final

from kev.fs.errors import DiskError

SECTOR_SIZE: Final = 512
"""In bytes."""


def sector_count(length: int) -> int:
    """How many sectors `length` bytes fill, the last one perhaps in part."""
    return -(-length // SECTOR_SIZE)


class Disk:
    """Sectors backed by a binary file, which stays open for as long as the disk is used and is never closed by it.

    All accesses are positional: there is no current position, so that threads may share a disk. Over a file of the operating
    system a read is one `preadv` into the caller's memory; any other file, such as a BytesIO, works too, for one thread. A file
    that was opened for reading makes a read-only disk. A disk never grows.
    """

    __slots__ = ("_descriptor", "_file", "name", "sectors", "size", "writable")

    def __init__(self, file: BinaryIO, name: str, *, any_size: bool = False) -> None:
        """`name` is what errors call the disk.

        DiskError if the file has no size or, unless `any_size` is given, is not a whole number of sectors.
        """
        self.name: Final = name
        self._file: Final = file
        self._descriptor: Final = _descriptor(file)
        self.writable: Final = file.writable()
        self.size: Final = _size(file, name, any_size)
        """In bytes."""
        self.sectors: Final = self.size // SECTOR_SIZE
        """Whole ones."""

    @property
    def open_file(self) -> "array[int] | None":
        """For who reads the disk's file without asking: its descriptor, and until when it is taken to be the same, which is always.

        None if it is not one of the operating system.
        """
        return None if self._descriptor is None else array("q", (self._descriptor, (1 << 63) - 1))

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fills `buffer`, a memoryview of bytes, from byte `offset` on. DiskError if it would pass the end or the file fails."""
        if offset < 0 or len(buffer) > self.size - offset:
            raise self._not_on_disk(offset, len(buffer))
        while buffer:
            try:
                count = self._read(offset, buffer)
            except OSError as error:
                raise DiskError(f"{self.name}: cannot read at byte {offset}: {error.strerror}") from error
            if not count:
                raise DiskError(f"{self.name}: the file was truncated: it ends before byte {offset} of {self.size}")
            offset += count
            buffer = buffer[count:]

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Writes bytes from byte `offset` on. DiskError, before anything is written, if the disk is read-only or too small."""
        if not self.writable:
            raise DiskError(f"{self.name}: the disk is read-only")
        rest = memoryview(data)
        if offset < 0 or len(rest) > self.size - offset:
            raise self._not_on_disk(offset, len(rest))
        while rest:
            try:
                count = self._write(offset, rest)
            except OSError as error:
                raise DiskError(f"{self.name}: cannot write at byte {offset}: {error.strerror}") from error
            offset += count
            rest = rest[count:]

    def flush(self) -> None:
        """Waits until everything written is on stable storage. DiskError if the file fails."""
        try:
            if self._descriptor is None:
                self._file.flush()
            elif self.writable:
                os.fsync(self._descriptor)
        except OSError as error:
            raise DiskError(f"{self.name}: cannot flush: {error.strerror}") from error

    def read_sector(self, sector: int) -> bytes:
        """The 512 bytes of a sector. DiskError as `read_into`."""
        buffer = bytearray(SECTOR_SIZE)
        self.read_into(sector * SECTOR_SIZE, memoryview(buffer))
        return bytes(buffer)

    def write_sector(self, sector: int, data: bytes | bytearray | memoryview) -> None:
        """Overwrites a whole sector. DiskError as `write`, and if `data` is not 512 bytes."""
        if len(data) != SECTOR_SIZE:
            raise DiskError(f"{self.name}: {len(data)} bytes for sector {sector}: a sector has {SECTOR_SIZE}")
        self.write(sector * SECTOR_SIZE, data)

    def _not_on_disk(self, offset: int, length: int) -> DiskError:
        return DiskError(
            f"{self.name}: {length} bytes at byte {offset} (sector {offset // SECTOR_SIZE}) are not on the disk: "
            f"it has {self.sectors} sectors of {SECTOR_SIZE} bytes"
        )

    def _read(self, offset: int, buffer: memoryview) -> int:
        if self._descriptor is not None:
            return os.preadv(self._descriptor, (buffer,), offset)
        self._file.seek(offset)
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _write(self, offset: int, data: memoryview) -> int:
        if self._descriptor is not None:
            return os.pwrite(self._descriptor, data, offset)
        self._file.seek(offset)
        return self._file.write(data)


def _size(file: BinaryIO, name: str, any_size: bool) -> int:
    try:
        size = file.seek(0, os.SEEK_END)
    except OSError as error:
        raise DiskError(f"{name}: cannot be a disk: {error}") from error
    if size % SECTOR_SIZE and not any_size:
        raise DiskError(f"{name}: a size of {size} bytes is not a multiple of {SECTOR_SIZE}")
    return size


def _descriptor(file: BinaryIO) -> int | None:
    """What the operating system calls the file, or None if the file is not its own."""
    try:
        return file.fileno()
    except io.UnsupportedOperation:
        return None
