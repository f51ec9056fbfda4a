"""The section headers of a kernel, and its sections that are not loaded with it: symbols and debug information."""

from typing import Final

import attrs

from kev.boot.boot_memory import BootMemory
from kev.boot.elf_layout import ElfLayout, read_tables
from kev.boot.kernel_file import KernelFile
from pager.image import ImageError

_SHT_NULL: Final = 0
_SHT_NOBITS: Final = 8


@attrs.frozen(slots=True)
class SectionHeaders:
    """A table of section headers."""

    count: int
    entry_size: int
    """In bytes."""
    names: int
    """The index of the section with the sections' names."""
    table: bytes


def place_sections(file: KernelFile, memory: BootMemory) -> SectionHeaders | None:
    """The section headers of an ELF file; None if it has none. ImageError if they are damaged.

    Sections without an address are placed in memory, and their headers say where; without room they stay as they are.
    """
    layout, tables = read_tables(file)
    if not tables.section_headers or not tables.section_header_count:
        return None
    if tables.section_header_size != layout.section_header.size:
        raise ImageError(f"{file.name}: e_shentsize is {tables.section_header_size}, not {layout.section_header.size}")
    size = tables.section_header_count * tables.section_header_size
    table = bytearray(file.read(tables.section_headers, size, "the section header table"))
    for offset in range(0, size, tables.section_header_size):
        _place(layout, table, offset, file, memory)
    return SectionHeaders(tables.section_header_count, tables.section_header_size, tables.section_names, bytes(table))


def _place(layout: ElfLayout, table: bytearray, header: int, file: KernelFile, memory: BootMemory) -> None:
    kind, address, offset, size = layout.section_header.unpack_from(table, header)
    if address or not size or kind in (_SHT_NULL, _SHT_NOBITS):
        return
    if offset + size > file.source.size:
        raise ImageError(f"{file.name}: sh_offset {offset:#x} + sh_size {size:#x} exceeds the file's size {file.source.size:#x}")
    place = memory.place_part(file.source, offset, size)
    if place is not None:
        layout.section_address.pack_into(table, header + layout.section_address_offset, place)
