"""Pictures as PNG files (Portable Network Graphics Specification, third edition)."""

import struct
import zlib
from typing import Final

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_HEADER: Final = struct.Struct(">IIBBBBB")
_BITS_PER_SAMPLE: Final = 8
_TRUE_COLOUR: Final = 2
_NO_FILTER: Final = b"\0"


def png(width: int, height: int, pixels: bytes) -> bytes:
    """A file of `width` times `height` pixels: red, green and blue, a byte each, row by row."""
    rows = b"".join(_NO_FILTER + pixels[start : start + 3 * width] for start in range(0, 3 * width * height, 3 * width))
    header = _HEADER.pack(width, height, _BITS_PER_SAMPLE, _TRUE_COLOUR, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
