"""The notes of an ELF file (System V ABI, "Note section")."""

import struct
from collections.abc import Iterator
from typing import Final

import attrs

from kev.addressing import KIB
from kev.boot.elf_layout import read_tables
from kev.boot.kernel_file import KernelFile
from kev.pager.errors import ImageError

_PT_NOTE: Final = 4
_LONGEST: Final = 64 * KIB
"""How much is looked at of all segments of notes together, in bytes."""
_NOTE: Final = struct.Struct("<III")
_ALIGNMENT: Final = 4


@attrs.frozen(slots=True)
class Note:
    name: bytes
    """Without the zero byte that ends it."""
    type: int
    description: bytes


def read_notes(file: KernelFile) -> Iterator[Note]:
    """The notes of the program headers of type PT_NOTE, as far as `_LONGEST` bytes reach. ImageError if they are damaged."""
    layout, tables = read_tables(file)
    table = file.read(tables.program_headers, tables.program_header_count * layout.program_header.size, "the program header table")
    left = _LONGEST
    for kind, offset, size in layout.program_header.iter_unpack(table):
        if kind == _PT_NOTE and left > 0:
            yield from _parse(file.name, file.read(offset, min(size, left), "a segment of notes"))
            left -= size


def _parse(file: str, data: bytes) -> Iterator[Note]:
    offset = 0
    while offset + _NOTE.size <= len(data):
        name_size, description_size, kind = _NOTE.unpack_from(data, offset)
        name = offset + _NOTE.size
        description = name + _padded(name_size)
        offset = description + _padded(description_size)
        if description + description_size > len(data):
            raise ImageError(f"{file}: a note of {description_size} bytes reaches behind the end of its segment of {len(data)}")
        yield Note(data[name : name + name_size].rstrip(b"\0"), kind, data[description : description + description_size])


def _padded(size: int) -> int:
    return size + -size % _ALIGNMENT
