"""Reading ranges of a file of which nobody but the digests of its blocks is believed.

The digests stand in a manifest: `MAGIC`, the size of the file in 8 bytes (little-endian), and SHA-256 (FIPS 180-4) of every block
of `BLOCK` bytes, the last of which may be shorter. SHA-256 of the manifest is what the file is known by.
"""

import hashlib
import struct
from collections.abc import Iterable
from typing import Final, Protocol

from kev.addressing import KIB
from kev.pager.source import SourceError, SynchronousSource

BLOCK: Final = 64 * KIB
"""Bytes."""
MAGIC: Final = b"kevblks1"
_HEADER: Final = struct.Struct("<8sQ")
_DIGEST: Final = hashlib.sha256().digest_size


class RangeReader(SynchronousSource, Protocol):
    """Reads ranges, and holds up the thread meanwhile."""

    def read(self, start: int, end: int) -> bytes:
        """The bytes of [start, end). SourceError if they cannot be had. May be called in any thread."""

    def close(self) -> None: ...


class BlockDigests:
    """What a manifest says of a file."""

    def __init__(self, name: str, manifest: bytes, digest: str) -> None:
        """`name` is the file's, `digest` is SHA-256 of the manifest in hexadecimal. SourceError if it is not, or if it is none."""
        if hashlib.sha256(manifest).hexdigest() != digest:
            raise SourceError(f"{name}: its manifest is not the one with SHA-256 {digest}")
        if len(manifest) < _HEADER.size or not manifest.startswith(MAGIC):
            raise SourceError(f"{name}: its manifest is none: it begins with {manifest[: len(MAGIC)]!r}, not with {MAGIC!r}")
        _, self.size = _HEADER.unpack_from(manifest)
        self._name: Final = name
        self._digests: Final = manifest[_HEADER.size :]
        if len(self._digests) != -(-self.size // BLOCK) * _DIGEST:
            raise SourceError(
                f"{name}: its manifest has {len(self._digests)} bytes of digests, which {self.size} bytes do not have"
            )

    def check(self, number: int, data: bytes | memoryview) -> None:
        """SourceError unless `data` is block `number`."""
        wanted = self._digests[number * _DIGEST : (number + 1) * _DIGEST]
        if hashlib.sha256(data).digest() != wanted:
            raise SourceError(
                f"{self._name}: {len(data)} bytes at offset {number * BLOCK:#x} are not what they were: SHA-256 differs"
            )


class CheckedReader:
    """What another reader reads, block by block held against its digest."""

    def __init__(self, inner: RangeReader, digests: BlockDigests) -> None:
        """SourceError if the file has not the size that it should have."""
        if inner.size != digests.size:
            raise SourceError(f"{inner.name}: has {inner.size:,} bytes, and should have {digests.size:,}")
        self.name: Final = inner.name
        self.size: Final = inner.size
        self._inner: Final = inner
        self._digests: Final = digests

    def read(self, start: int, end: int) -> bytes:
        """The bytes of [start, end). SourceError if they cannot be had, or are others. May be called in any thread."""
        if start >= end:
            return b""
        first = start // BLOCK
        data = memoryview(self._inner.read(first * BLOCK, min(-(-end // BLOCK) * BLOCK, self.size)))
        for offset in range(0, len(data), BLOCK):
            self._digests.check(first + offset // BLOCK, data[offset : offset + BLOCK])
        return bytes(data[start - first * BLOCK : end - first * BLOCK])

    def read_into(self, offset: int, buffer: memoryview, /) -> int:
        data = self.read(offset, min(offset + len(buffer), self.size))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._inner.close()


def manifest_of(blocks: Iterable[bytes | memoryview]) -> bytes:
    """The manifest of a file whose blocks these are."""
    digests, size = [], 0
    for block in blocks:
        digests.append(hashlib.sha256(block).digest())
        size += len(block)
    return _HEADER.pack(MAGIC, size) + b"".join(digests)
