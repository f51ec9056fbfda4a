"""Images of any size that boot like a small one: a guest with a segment behind it that it never touches."""

import struct
from pathlib import Path
from typing import Final

import attrs

from kev.addressing import GIB, MIB, Gpa, page_ceil
from kev.measure.errors import BenchError
from kev.pager.image import KernelImage
from kev.pager.ram import MMIO_HOLE
from kev.pager.source import FileSource

_PT_LOAD: Final = 1
_READ_WRITE: Final = 6
_ABOVE_HOLE: Final = Gpa(4 * GIB)


@attrs.frozen(slots=True)
class _Headers:
    """Where an ELF file says where its program headers are (System V ABI, "Object Files")."""

    table_offset: int
    """Of e_phoff."""
    table_format: str
    count_offset: int
    """Of e_phnum."""
    entry_size: int

    def program_header(self, offset: int, gpa: int, size: int) -> bytes:
        """One of type PT_LOAD, for `size` bytes of the file from `offset` on."""
        if self.table_format == "<I":
            return struct.pack("<8I", _PT_LOAD, offset, gpa, gpa, size, size, _READ_WRITE, 0x1000)
        return struct.pack("<2I6Q", _PT_LOAD, _READ_WRITE, offset, gpa, gpa, size, size, 0x1000)


_HEADERS: Final = {1: _Headers(28, "<I", 44, 32), 2: _Headers(32, "<Q", 56, 56)}
"""By EI_CLASS."""


def write_padded_image(base: bytes, path: Path, size: int) -> None:
    """Writes an ELF file of `size` bytes that consists of the ELF file `base` and one large segment of zeros.

    The segment is a hole in the file, and costs no room on the disk. It lies behind the guest, or above 4 GiB if there is no room
    for it below. BenchError if `size` is too small, or too large for a 32-bit file.
    """
    headers = _HEADERS[base[4]]
    table = int.from_bytes(base[headers.table_offset : headers.table_offset + struct.calcsize(headers.table_format)], "little")
    count = int.from_bytes(base[headers.count_offset : headers.count_offset + 2], "little")
    new_table = -(-len(base) // 8) * 8
    padding = page_ceil(new_table + (count + 1) * headers.entry_size)
    if size <= padding:
        raise BenchError(f"an image of {size:,} bytes: with its guest and a segment behind it, it has more than {padding:,}")
    path.write_bytes(base)
    place = _place(path, size - padding)
    if headers.table_format == "<I" and place == _ABOVE_HOLE:
        raise BenchError(f"an image of {size:,} bytes: a 32-bit one has no room for it below the hole at {MMIO_HOLE.start:#x}")
    with path.open("r+b") as file:
        file.seek(new_table)
        file.write(base[table : table + count * headers.entry_size])
        file.write(headers.program_header(padding, place, size - padding))
        file.seek(headers.table_offset)
        file.write(struct.pack(headers.table_format, new_table))
        file.seek(headers.count_offset)
        file.write(struct.pack("<H", count + 1))
        file.truncate(size)


def _place(path: Path, length: int) -> Gpa:
    """Where there is room for a segment of `length` bytes, with a distance to the image in `path`."""
    with FileSource(path) as source:
        below = Gpa(page_ceil(KernelImage.from_elf(source).end + MIB))
    return below if below + length <= MMIO_HOLE.start else _ABOVE_HOLE
