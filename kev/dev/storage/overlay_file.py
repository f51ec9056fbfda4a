"""A disk whose contents stay as they are, and a file that keeps what is written to it beyond the machine's end.

    offset 0            `kev-overlay 1`, then about the disk beneath: see `_HEADER`; padded with zeros to 4 KiB
    4 KiB               a bit for each 4 KiB of the disk: they lie in this file; padded with zeros to a multiple of 4 KiB
    behind it           the contents of the disk, as far as they were written

The file has holes where nothing was written, so it takes no more room than what was. All numbers are little-endian.
"""

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

from kev.addressing import PAGE_SIZE, page_ceil
from kev.dev.storage.overlay_disk import OverlayError, Readable

LARGEST_BASE: Final = 1 << 40
"""Bytes of the disk beneath."""

_MAGIC: Final = b"kev-overlay 1\n"
_HEADER: Final = struct.Struct("<16sQBQ32s")
"""Magic; the size in bytes of the disk beneath; 1 if the time of its modification is known, 2 if its digest is, and 3 for both; the
time, in nanoseconds since 1970; the digest (SHA-256)."""
_HAS_TIME, _HAS_DIGEST = 1, 2
_BITS: Final = PAGE_SIZE
"""Where the bits begin."""


class BaseFile(NamedTuple):
    """What is known of the file beneath."""

    size: int
    """In bytes."""
    modified: int | None
    """When it was changed last, in nanoseconds since 1970; None if that says nothing."""
    digest: bytes | None
    """SHA-256; None if it would have taken too long."""


def begin_overlay(file: BinaryIO, name: str, base: BaseFile) -> None:
    """Makes an empty file one over which nothing is written yet. OverlayError if it cannot be."""
    if base.size > LARGEST_BASE:
        raise OverlayError(f"{name}: the disk beneath has {base.size:,} bytes: there may be {LARGEST_BASE:,}")
    known = (base.modified is not None) * _HAS_TIME | (base.digest is not None) * _HAS_DIGEST
    header = _HEADER.pack(_MAGIC, base.size, known, base.modified or 0, base.digest or b"")
    try:
        os.ftruncate(file.fileno(), file_size(base.size))
        os.pwrite(file.fileno(), header, 0)
    except OSError as error:
        raise OverlayError(f"{name}: cannot be written: {error.strerror}") from error


def read_base(file: BinaryIO, name: str) -> BaseFile | None:
    """What a file lies over; None if it is empty. OverlayError if `begin_overlay` has not made it."""
    try:
        size, data = os.fstat(file.fileno()).st_size, os.pread(file.fileno(), _HEADER.size, 0)
    except OSError as error:
        raise OverlayError(f"{name}: cannot be read: {error.strerror}") from error
    if not size:
        return None
    if not data.startswith(_MAGIC):
        raise OverlayError(f"{name}: is no overlay of kev's, which begins with {_MAGIC!r}: it is left as it is")
    if len(data) < _HEADER.size:
        raise OverlayError(f"{name}: is damaged: its header has {len(data)} bytes of {_HEADER.size}")
    _, base, known, modified, digest = _HEADER.unpack(data)
    if base > LARGEST_BASE or not known & (_HAS_TIME | _HAS_DIGEST) or size != file_size(base):
        raise OverlayError(f"{name}: is damaged: {size:,} bytes are not what lies over {base:,} bytes")
    return BaseFile(base, modified if known & _HAS_TIME else None, digest if known & _HAS_DIGEST else None)


def file_size(base: int) -> int:
    """How many bytes the file over a disk of `base` bytes has, holes included."""
    return _contents(base) + base


class OverlayFile:
    """The bytes of `base`, which is only read, under what `file` keeps. What was written is in the file when `write` returns.

    The bit of a page is set when all of the page is in the file, so a run may stop anywhere.
    """

    writable: Final = True

    __slots__ = ("_base", "_bits", "_contents", "_descriptor", "name", "size")

    def __init__(self, file: BinaryIO, name: str, base: Readable) -> None:
        """`file` is one that `begin_overlay` has made for a disk of the size of `base`. OverlayError if it cannot be read."""
        self.name: Final = name
        self.size: Final = base.size
        """In bytes."""
        self._base: Final = base
        self._descriptor: Final = file.fileno()
        self._contents: Final = _contents(base.size)
        self._bits: Final = bytearray(self._contents - _BITS)
        self._pread(_BITS, memoryview(self._bits))

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """OverlayError if it would pass the end, or if the file fails; what `base` raises."""
        self._check(offset, len(buffer))
        for start, stop, is_kept in self._runs(offset, offset + len(buffer)):
            part = buffer[start - offset : stop - offset]
            if is_kept:
                self._pread(self._contents + start, part)
            else:
                self._base.read_into(start, part)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """OverlayError, before anything is written, if it would pass the end; if the file fails; what `base` raises."""
        stop = offset + len(data)
        self._check(offset, len(data))
        if offset == stop:
            return
        first, last = offset // PAGE_SIZE, (stop - 1) // PAGE_SIZE
        for page in {first, last}:
            start, end = page * PAGE_SIZE, min((page + 1) * PAGE_SIZE, self.size)
            if not self._is_kept(page) and (start < offset or end > stop):
                beneath = bytearray(end - start)
                self._base.read_into(start, memoryview(beneath))
                self._pwrite(self._contents + start, beneath)
        self._pwrite(self._contents + offset, data)
        self._keep(first, last)

    def flush(self) -> None:
        """Waits until everything written is on stable storage. OverlayError if the file fails."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise OverlayError(f"{self.name}: cannot flush: {error.strerror}") from error

    def _is_kept(self, page: int) -> bool:
        return bool(self._bits[page >> 3] >> (page & 7) & 1)

    def _keep(self, first: int, last: int) -> None:
        """Both included."""
        for page in range(first, last + 1):
            self._bits[page >> 3] |= 1 << (page & 7)
        low, high = first >> 3, (last >> 3) + 1
        self._pwrite(_BITS + low, self._bits[low:high])

    def _runs(self, offset: int, stop: int) -> Iterator[tuple[int, int, bool]]:
        """Adjacent ranges of bytes, and whether they are kept."""
        while offset < stop:
            page = offset // PAGE_SIZE
            is_kept = self._is_kept(page)
            end = page + 1
            while end * PAGE_SIZE < stop and self._is_kept(end) is is_kept:
                end += 1
            yield offset, min(end * PAGE_SIZE, stop), is_kept
            offset = end * PAGE_SIZE

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length > self.size - offset:
            raise OverlayError(f"{self.name}: {length} bytes at byte {offset} are not on the disk: it has {self.size}")

    def _pread(self, offset: int, buffer: memoryview) -> None:
        while buffer:
            try:
                count = os.preadv(self._descriptor, (buffer,), offset)
            except OSError as error:
                raise OverlayError(f"{self.name}: cannot be read at byte {offset}: {error.strerror}") from error
            if not count:
                raise OverlayError(f"{self.name}: was cut short: it ends before byte {offset}")
            offset, buffer = offset + count, buffer[count:]

    def _pwrite(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            try:
                count = os.pwrite(self._descriptor, rest, offset)
            except OSError as error:
                raise OverlayError(f"{self.name}: cannot be written at byte {offset}: {error.strerror}") from error
            offset, rest = offset + count, rest[count:]


def _contents(size: int) -> int:
    """Where the contents of a disk of `size` bytes begin."""
    pages = -(-size // PAGE_SIZE)
    return _BITS + page_ceil(-(-pages // 8))
