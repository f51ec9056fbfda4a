"""The section headers of an ELF file (System V ABI, "Sections"). A kernel boots without them: what is wrong there costs names."""

import struct
from typing import Final

from kev.named_tuple import NamedTuple
from kev.pager.errors import ImageError
from kev.pager.source import SynchronousSource, read_image

MOST_SECTIONS: Final = 1 << 17
"""Headers that are read of a file."""
SHT_SYMTAB: Final = 2
SHT_NOBITS: Final = 8
SHF_ALLOC: Final = 1 << 1
SHF_COMPRESSED: Final = 1 << 11

_LONGEST_NAME: Final = 256
_IDENT_SIZE: Final = 16
_MAGIC: Final = b"\x7fELF"
_SHN_XINDEX: Final = 0xFFFF
_E_SHOFF_32: Final = struct.Struct("<16xI10xHHH")
"""Behind e_ident: e_shoff, e_shentsize, e_shnum, e_shstrndx."""
_E_SHOFF_64: Final = struct.Struct("<24xQ10xHHH")
_HEADER_32: Final = struct.Struct("<10I")
_HEADER_64: Final = struct.Struct("<2I4Q2I2Q")


class SectionHeader(NamedTuple):
    """One header, with the fields in the order of the file."""

    name: int
    """Where its name begins in the string table."""
    type: int
    flags: int
    address: int
    """Where it is when the kernel runs; 0 if it is not in memory."""
    offset: int
    """In the file."""
    size: int
    """In bytes."""
    link: int
    info: int
    alignment: int
    entry_size: int


class SectionTable:
    """All headers of a file, and the names of sections."""

    def __init__(self, source: SynchronousSource, bits: int, headers: list[SectionHeader], names: bytes) -> None:
        self.bits: Final = bits
        """32 or 64: the ELF class."""
        self.headers: Final = headers
        self._names: Final = names
        self._source: Final = source

    def name(self, header: SectionHeader) -> str:
        return string_at(self._names, header.name)

    def contents(self, header: SectionHeader, most: int | None = None) -> bytes:
        """The bytes of a section, `most` of them at most. ImageError if the file ends before."""
        return _contents(self._source, header, most)


def read_section_headers(source: SynchronousSource) -> SectionTable:
    """The table of an ELF file, which is empty if the file has none. ImageError if it is damaged."""
    ident = read_image(source, 0, _IDENT_SIZE, "e_ident")
    if ident[:4] != _MAGIC or ident[4] not in (1, 2):
        raise ImageError(f"{source.name}: no ELF file, and so no section headers")
    bits = 32 * ident[4]
    layout, header = (_E_SHOFF_32, _HEADER_32) if bits == 32 else (_E_SHOFF_64, _HEADER_64)
    offset, entry_size, count, names = layout.unpack(read_image(source, _IDENT_SIZE, layout.size, "the ELF header"))
    if not offset:
        return SectionTable(source, bits, [], b"")
    if entry_size != header.size:
        raise ImageError(f"{source.name}: e_shentsize is {entry_size}, not {header.size}")
    first = SectionHeader(*header.unpack(read_image(source, offset, header.size, "section header 0")))
    # Where a number is too large for its field, the first header has it.
    count, names = count or first.size, first.link if names == _SHN_XINDEX else names
    if count > MOST_SECTIONS:
        raise ImageError(f"{source.name}: e_shnum is {count}: the most is {MOST_SECTIONS}")
    table = read_image(source, offset, count * header.size, "the section header table")
    headers = [SectionHeader(*fields) for fields in header.iter_unpack(table)]
    return SectionTable(source, bits, headers, _contents(source, headers[names]) if names < count else b"")


def string_at(names: bytes, offset: int) -> str:
    """The string that begins at `offset` of a string table, as far as it is not longer than any name."""
    end = names.find(b"\0", offset, offset + _LONGEST_NAME)
    return names[offset : end if end >= 0 else offset + _LONGEST_NAME].decode("utf-8", "replace")


def _contents(source: SynchronousSource, header: SectionHeader, most: int | None = None) -> bytes:
    if header.type == SHT_NOBITS:
        return b""
    if header.offset + header.size > source.size:
        raise ImageError(
            f"{source.name}: sh_offset {header.offset:#x} + sh_size {header.size:#x} exceeds the file's size {source.size:#x}"
        )
    size = header.size if most is None else min(header.size, most)
    return read_image(source, header.offset, size, "a section")
