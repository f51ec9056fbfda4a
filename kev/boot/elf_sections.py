"""The section headers of a kernel, and its sections that are not loaded with it: symbols and debug information."""

import struct
from collections.abc import Iterator
from typing import Final

from kev.addressing import KIB
from kev.boot.boot_memory import BootMemory
from kev.boot.elf_layout import ElfLayout, ElfTables, read_tables
from kev.boot.kernel_file import KernelFile
from kev.pager.errors import ImageError
from kev.pager.section_headers import string_at

_SHT_NULL: Final = 0
_SHT_NOBITS: Final = 8
_NAME: Final = struct.Struct("<I")
"""sh_name, with which every header begins."""
_MOST_NAMES: Final = 64 * KIB


class SectionHeaders:
    """The section headers of an ELF file."""

    def __init__(self, tables: ElfTables, file: KernelFile, layout: ElfLayout, table: bytes) -> None:
        self.count: Final = tables.section_header_count
        self.entry_size: Final = tables.section_header_size
        """In bytes."""
        self.names: Final = tables.section_names
        """The index of the section with the sections' names."""
        self._file: Final = file
        self._layout: Final = layout
        self._table: Final = table

    def place(self, memory: BootMemory) -> bytes:
        """Places the sections that have no address. Returns all headers with their new addresses; without room there is none."""
        table = bytearray(self._table)
        for header, offset, size in self.unplaced():
            address = memory.place_part(self._file.source, offset, size)
            if address is not None:
                self._layout.section_address.pack_into(table, header + self._layout.section_address_offset, address)
        return bytes(table)

    def read_names(self) -> frozenset[str]:
        """The names of all sections, as far as they can be read. ImageError if where they are is damaged."""
        start = self.names * self.entry_size
        if start + self.entry_size > len(self._table):
            return frozenset()
        _, _, offset, size = self._layout.section_header.unpack_from(self._table, start)
        names = self._file.read(offset, min(size, _MOST_NAMES), "the names of its sections")
        pointers = (_NAME.unpack_from(self._table, index * self.entry_size)[0] for index in range(self.count))
        return frozenset(string_at(names, pointer) for pointer in pointers)

    def unplaced(self) -> Iterator[tuple[int, int, int]]:
        """Of each section without an address: where its header is in the table, and its offset and size in the file."""
        for index, (kind, address, offset, size) in enumerate(self._layout.section_header.iter_unpack(self._table)):
            if size and not address and kind not in (_SHT_NULL, _SHT_NOBITS):
                yield index * self.entry_size, offset, size


def section_names(file: KernelFile) -> frozenset[str]:
    """The names of an ELF file's sections; none where they, or their headers, are not there or damaged."""
    try:
        headers = read_section_headers(file)
        return headers.read_names() if headers is not None else frozenset()
    except ImageError:
        return frozenset()


def read_section_headers(file: KernelFile) -> SectionHeaders | None:
    """None if the ELF file has no section headers. ImageError if they are damaged."""
    layout, tables = read_tables(file)
    if not tables.section_headers or not tables.section_header_count:
        return None
    entry_size = tables.section_header_size
    if entry_size != layout.section_header.size:
        raise ImageError(f"{file.name}: e_shentsize is {entry_size}, not {layout.section_header.size}")
    table = file.read(tables.section_headers, tables.section_header_count * entry_size, "the section header table")
    headers = SectionHeaders(tables, file, layout, table)
    for _, offset, size in headers.unplaced():
        if offset + size > file.source.size:
            raise ImageError(
                f"{file.name}: sh_offset {offset:#x} + sh_size {size:#x} exceeds the file's size {file.source.size:#x}"
            )
    return headers
