"""Where the fields of ELF's headers are (System V ABI, "Object Files")."""

import struct
from typing import Final

from kev.boot.kernel_file import KernelFile
from kev.named_tuple import NamedTuple


class ElfLayout(NamedTuple):
    """The file header and what is needed of program and section headers, little-endian."""

    header: struct.Struct
    """Behind e_ident: e_phoff, e_shoff, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx."""
    program_header: struct.Struct
    """p_type, p_offset, p_vaddr, p_filesz, p_align."""
    section_header: struct.Struct
    """sh_type, sh_addr, sh_offset, sh_size."""
    section_address: struct.Struct
    section_address_offset: int
    """Where sh_addr is in a section header, in bytes."""


class ProgramHeader(NamedTuple):
    """Of any type. In bytes."""

    type: int
    offset: int
    address: int
    file_size: int
    alignment: int


class ElfTables(NamedTuple):
    """Where the tables of a file are."""

    program_headers: int
    section_headers: int
    program_header_size: int
    program_header_count: int
    section_header_size: int
    section_header_count: int
    section_names: int
    """The index of the section with the sections' names."""


_E_IDENT_SIZE: Final = 16
_ELF32: Final = ElfLayout(
    struct.Struct("<12xII6xHHHHH"), struct.Struct("<III4xI8xI"), struct.Struct("<4xI4xIII16x"), struct.Struct("<I"), 12
)
_ELF64: Final = ElfLayout(
    struct.Struct("<16xQQ6xHHHHH"), struct.Struct("<I4xQQ8xQ8xQ"), struct.Struct("<4xI8xQQQ24x"), struct.Struct("<Q"), 16
)


def read_tables(file: KernelFile) -> tuple[ElfLayout, ElfTables]:
    """Of an ELF file. ImageError if it is damaged."""
    layout = _ELF64 if file.is_elf64 else _ELF32
    header = file.read(_E_IDENT_SIZE, layout.header.size, "the ELF header")
    return layout, ElfTables(*layout.header.unpack(header))


def read_program_headers(file: KernelFile) -> list[ProgramHeader]:
    """Of an ELF file. ImageError if it is damaged."""
    layout, tables = read_tables(file)
    size = tables.program_header_count * layout.program_header.size
    table = file.read(tables.program_headers, size, "the program header table")
    return [ProgramHeader(*fields) for fields in layout.program_header.iter_unpack(table)]
