"""Writes debug information byte by byte, so that a test can get any of it wrong."""

import struct
from collections.abc import Mapping, Sequence

from tests.pager.elf import build_elf

Row = tuple[int, int, int]
"""An address, the number of a file and a line."""
Sequences = Sequence[tuple[Sequence[Row], int]]
"""Rows in the order of their addresses, and the address behind the last."""

OPCODE_BASE = 13
OPERANDS = bytes((0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1))
COMPRESSED = 0x800
STRING_FORM = 0x08
PATH = 1


def uleb128(value: int) -> bytes:
    encoded = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        encoded.append(low | (0x80 if value else 0))
        if not value:
            return bytes(encoded)


def sleb128(value: int) -> bytes:
    encoded = bytearray()
    while True:
        low, value = value & 0x7F, value >> 7
        done = value == (-1 if low & 0x40 else 0)
        encoded.append(low | (0 if done else 0x80))
        if done:
            return bytes(encoded)


def line_program(version: int, files: Sequence[str], sequences: Sequences) -> bytes:
    """One line program (DWARF 5, section 6.2.4), as written by an assembler that knows no special opcodes."""
    program = b"".join(_sequence(rows, end) for rows, end in sequences)
    tail = struct.pack("<BB", 1, 1) if version < 4 else struct.pack("<BBB", 1, 1, 1)
    tail += struct.pack("<bBB", -5, 14, OPCODE_BASE) + OPERANDS
    if version < 5:
        tail += b"\0" + b"".join(file.encode() + b"\0\0\0\0" for file in files) + b"\0"
    else:
        path = uleb128(PATH) + uleb128(STRING_FORM)
        tail += b"\1" + path + uleb128(1) + b".\0"
        tail += b"\1" + path + uleb128(len(files)) + b"".join(file.encode() + b"\0" for file in files)
    header = struct.pack("<H", version) + (b"\x08\0" if version == 5 else b"") + struct.pack("<I", len(tail))
    unit = header + tail + program
    return struct.pack("<I", len(unit)) + unit


def _sequence(rows: Sequence[Row], end: int) -> bytes:
    code = b""
    line = 1
    for address, file, number in rows:
        code += b"\0\x09\x02" + struct.pack("<Q", address)
        code += b"\x04" + uleb128(file) + b"\x03" + sleb128(number - line) + b"\x01"
        line = number
    return code + b"\0\x09\x02" + struct.pack("<Q", end) + b"\0\x01\x01"


def elf_with_sections(sections: Mapping[str, bytes], flags: Mapping[str, int] | None = None, bits: int = 64) -> bytes:
    """An ELF file with these sections, which are not loaded. `flags` are their sh_flags, 0 by default."""
    elf = build_elf((), 0, bits=bits)
    names = b"\0"
    headers = [(0, 0, 0, 0, 0)]
    for name, contents in sections.items():
        headers.append((len(names), 1, (flags or {}).get(name, 0), len(elf.data), len(contents)))
        names += name.encode() + b"\0"
        elf.data += contents
    headers.append((len(names), 3, 0, len(elf.data), len(names) + len(".shstrtab") + 1))
    elf.data += names + b".shstrtab\0"
    elf.set("e_shoff", len(elf.data)).set("e_shentsize", 40 if bits == 32 else 64)
    elf.set("e_shnum", len(headers)).set("e_shstrndx", len(headers) - 1)
    for name_at, kind, flag, offset, size in headers:
        elf.data += struct.pack("<10I" if bits == 32 else "<IIQQQQIIQQ", name_at, kind, flag, 0, offset, size, 0, 0, 1, 0)
    return bytes(elf.data)


def compression_header(kind: int, size: int, bits: int = 64) -> bytes:
    """What a section with SHF_COMPRESSED begins with."""
    return struct.pack("<III", kind, size, 1) if bits == 32 else struct.pack("<IIQQ", kind, 0, size, 1)
