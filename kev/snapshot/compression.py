"""Clusters of pages, compressed by zstd (RFC 8878)."""

from collections.abc import Callable
from typing import Any, Final

from kev.snapshot.errors import SnapshotError

_LEVEL: Final = 3
"""zstd's own."""


def compressor(name: str) -> Callable[[bytes], bytes]:
    """Compresses for the snapshot `name`. SnapshotError if the library is missing."""
    compress: Callable[[bytes], bytes] = _zstandard(name).ZstdCompressor(level=_LEVEL).compress
    return compress


def decompressor(name: str) -> Callable[[bytes, int], bytes]:
    """Decompresses what the snapshot `name` has, which is so many bytes then. SnapshotError if the library is missing."""
    library = _zstandard(name)
    context = library.ZstdDecompressor()

    def decompress(data: bytes, length: int) -> bytes:
        try:
            contents: bytes = context.decompress(data, max_output_size=length)
        except library.ZstdError as error:
            raise SnapshotError(f"{name}: a cluster of pages is damaged: {error}") from error
        if len(contents) != length:
            raise SnapshotError(f"{name}: a cluster of pages is damaged: it has {len(contents)} bytes, not {length}")
        return contents

    return decompress


def _zstandard(name: str) -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise SnapshotError(f"{name}: a compressed snapshot needs zstandard: `pip install kev-hypervisor[zstd]`") from error
    return zstandard
