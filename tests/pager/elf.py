"""Writes ELF files field by field, so that a test can get any of them wrong."""

import struct
from collections.abc import Mapping, Sequence

import attrs

from kev.pager.image import Segment

HEADER_FIELDS = {
    32: {"e_type": (16, "H"), "e_machine": (18, "H"), "e_version": (20, "I"), "e_entry": (24, "I"), "e_phoff": (28, "I"),
         "e_shoff": (32, "I"), "e_phentsize": (42, "H"), "e_phnum": (44, "H"), "e_shentsize": (46, "H"), "e_shnum": (48, "H"),
         "e_shstrndx": (50, "H")},
    64: {"e_type": (16, "H"), "e_machine": (18, "H"), "e_version": (20, "I"), "e_entry": (24, "Q"), "e_phoff": (32, "Q"),
         "e_shoff": (40, "Q"), "e_phentsize": (54, "H"), "e_phnum": (56, "H"), "e_shentsize": (58, "H"), "e_shnum": (60, "H"),
         "e_shstrndx": (62, "H")},
}  # fmt: skip
IDENT_FIELDS = {"EI_CLASS": (4, "B"), "EI_DATA": (5, "B"), "EI_VERSION": (6, "B")}
PROGRAM_HEADER_FIELDS = {
    32: {"p_type": (0, "I"), "p_offset": (4, "I"), "p_vaddr": (8, "I"), "p_paddr": (12, "I"), "p_filesz": (16, "I"),
         "p_memsz": (20, "I"), "p_flags": (24, "I"), "p_align": (28, "I")},
    64: {"p_type": (0, "I"), "p_flags": (4, "I"), "p_offset": (8, "Q"), "p_vaddr": (16, "Q"), "p_paddr": (24, "Q"),
         "p_filesz": (32, "Q"), "p_memsz": (40, "Q"), "p_align": (48, "Q")},
}  # fmt: skip
HEADER_SIZE = {32: 52, 64: 64}
PROGRAM_HEADER_SIZE = {32: 32, 64: 56}
MACHINE = {32: 3, 64: 62}


@attrs.define
class Elf:
    """The bytes of an ELF file."""

    bits: int
    data: bytearray

    def set(self, field: str, value: int, program_header: int = 0) -> "Elf":
        """Overwrites one field of e_ident, of the header, or of a program header."""
        fields = {**IDENT_FIELDS, **HEADER_FIELDS[self.bits]}
        base = 0
        if field.startswith("p_"):
            fields = PROGRAM_HEADER_FIELDS[self.bits]
            base = HEADER_SIZE[self.bits] + program_header * PROGRAM_HEADER_SIZE[self.bits]
        offset, code = fields[field]
        struct.pack_into("<" + code, self.data, base + offset, value)
        return self


def build_elf(segments: Sequence[Segment], entry: int, contents: bytes = b"", bits: int = 64) -> Elf:
    """An executable with these program headers, all of type PT_LOAD. `contents` follows them; offsets are as they are given."""
    table = HEADER_SIZE[bits]
    elf = Elf(bits, bytearray(table + len(segments) * PROGRAM_HEADER_SIZE[bits]))
    elf.data[:4] = b"\x7fELF"
    header: Mapping[str, int] = {
        "EI_CLASS": bits // 32, "EI_DATA": 1, "EI_VERSION": 1, "e_type": 2, "e_machine": MACHINE[bits], "e_version": 1,
        "e_entry": entry, "e_phoff": table, "e_phentsize": PROGRAM_HEADER_SIZE[bits], "e_phnum": len(segments),
    }  # fmt: skip
    for field, value in header.items():
        elf.set(field, value)
    for index, segment in enumerate(segments):
        values = {
            "p_type": 1, "p_offset": segment.offset, "p_vaddr": segment.vaddr, "p_paddr": segment.paddr,
            "p_filesz": segment.filesz, "p_memsz": segment.memsz, "p_flags": segment.flags,
        }  # fmt: skip
        for field, value in values.items():
            elf.set(field, value, index)
    elf.data += contents
    return elf


@attrs.frozen
class ElfSymbol:
    """One entry of a symbol table: by default a function in section 1."""

    name: str
    value: int
    size: int = 0
    type: int = 2
    section: int = 1


def add_symbols(elf: Elf, symbols: Sequence[ElfSymbol], sections: Sequence[range] = (), /, **section_fields: int) -> Elf:
    """Appends a symbol table and its section headers; `section_fields` replace what is right in the symbol table's header.

    `sections` are the addresses of others, whose numbers begin with 3.
    """
    strings = b"\0"
    entries = bytes(16 if elf.bits == 32 else 24)
    for symbol in symbols:
        if elf.bits == 32:
            entries += struct.pack("<IIIBxH", len(strings), symbol.value, symbol.size, symbol.type, symbol.section)
        else:
            entries += struct.pack("<IBxHQQ", len(strings), symbol.type, symbol.section, symbol.value, symbol.size)
        strings += symbol.name.encode() + b"\0"
    entry_size = 16 if elf.bits == 32 else 24
    table = len(elf.data)
    elf.data += entries + strings
    symbol_header = {"type": 2, "offset": table, "size": len(entries), "link": 2, "entsize": entry_size} | section_fields
    string_header = {"type": 3, "offset": table + len(entries), "size": len(strings)}
    elf.set("e_shoff", len(elf.data)).set("e_shentsize", 40 if elf.bits == 32 else 64).set("e_shstrndx", 2)
    elf.set("e_shnum", 3 + len(sections))
    others = ({"type": 8, "addr": section.start, "size": len(section)} for section in sections)
    for header in ({}, symbol_header, string_header, *others):
        elf.data += _section_header(elf.bits, header)
    return elf


def _section_header(bits: int, fields: Mapping[str, int]) -> bytes:
    order = ("name", "type", "flags", "addr", "offset", "size", "link", "info", "addralign", "entsize")
    values = [fields.get(field, 0) for field in order]
    return struct.pack("<10I" if bits == 32 else "<IIQQQQIIQQ", *values)
