"""One file of a SIMPLEFS disk."""

import os
from typing import TYPE_CHECKING, BinaryIO, Final

from kev.fs.disk import Disk
from kev.fs.errors import SimpleFsError

if TYPE_CHECKING:
    from array import array

COPY_SIZE: Final = 1 << 20
"""How much is copied at once, in bytes."""


class File:
    """A file that lies in one piece on a disk. It is read and overwritten in place; it neither grows nor shrinks.

    There are two ways to read it. `read_into`, `read_at` and `write_at` take an offset and leave no trace; `read`, `seek` and
    `tell` make it a binary stream, with a position of its own, for code that expects one.
    """

    __slots__ = ("_disk", "_position", "_start", "name", "size")

    def __init__(self, disk: Disk, name: str, start: int, size: int) -> None:
        """`start` is the byte of the disk at which the contents begin."""
        self.name: Final = name
        self.size: Final = size
        """In bytes."""
        self._disk: Final = disk
        self._start: Final = start
        self._position = 0

    @property
    def place(self) -> "tuple[array[int], int] | None":
        """The file of the operating system that it lies in, as `kev.fs.disk.Disk.open_file` has it, and where it begins there."""
        file = self._disk.open_file
        return None if file is None else (file, self._start)

    def read_into(self, offset: int, buffer: memoryview, /) -> int:
        """Reads from byte `offset` on straight into `buffer` and returns how many bytes: fewer only at the file's end."""
        # Page loads come through here: reads that do not reach the end go first.
        if offset >= 0 and offset + len(buffer) <= self.size:
            self._disk.read_into(self._start + offset, buffer)
            return len(buffer)
        count = min(len(buffer), self._left(offset))
        if count:
            self._disk.read_into(self._start + offset, buffer[:count])
        return count

    def read_at(self, offset: int, length: int) -> bytes:
        """The `length` bytes from `offset` on, fewer at the file's end."""
        buffer = bytearray(min(length, self._left(offset)))
        self.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Overwrites the bytes from `offset` on. SimpleFsError, before anything is written, if they would pass the file's end."""
        if len(data) > self.size - offset or offset < 0:
            raise SimpleFsError(
                f"{self.name!r}: {len(data)} bytes at byte {offset} do not fit: the file has {self.size} bytes and never grows"
            )
        self._disk.write(self._start + offset, data)

    def overwrite(self, source: BinaryIO) -> int:
        """Overwrites the file from its start with all that `source` holds, and returns how many bytes that was.

        SimpleFsError, before anything is written, if that is more than the file's size. What is behind stays as it was.
        """
        length = stream_length(source, self.name)
        if length > self.size:
            raise SimpleFsError(f"{self.name!r}: {length} bytes do not fit: the file has {self.size} bytes and never grows")
        source.seek(0)
        done = 0
        while chunk := source.read(COPY_SIZE):
            self.write_at(done, chunk)
            done += len(chunk)
        return done

    def read(self, size: int | None = -1) -> bytes:
        """The next `size` bytes, fewer at the file's end; all that are left if it is negative or None."""
        left = self._left(self._position)
        data = self.read_at(self._position, left if size is None or size < 0 else size)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Sets the position of `read`, which may lie behind the file's end, and returns it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise SimpleFsError(f"{self.name!r}: byte {base + offset} is before the start of the file")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def _left(self, offset: int) -> int:
        """How many bytes of the file there are from `offset` on."""
        if offset < 0:
            raise SimpleFsError(f"{self.name!r}: byte {offset} is before the start of the file")
        return max(0, self.size - offset)


def stream_length(stream: BinaryIO, name: str) -> int:
    """The length of a seekable stream in bytes. SimpleFsError that calls it `name` if it is a pipe or the like."""
    try:
        return stream.seek(0, os.SEEK_END)
    except OSError as error:
        raise SimpleFsError(f"{name!r}: its contents must be a file of known size: {error}") from error
