"""Minimal kernel images, made in memory."""

import struct
from collections.abc import Sequence

from kev.addressing import Gpa, Gva
from kev.pager.image import Segment
from tests.pager.elf import HEADER_SIZE, PROGRAM_HEADER_SIZE, build_elf
from tests.pager.sources import BytesSource

CONTENTS = 0x1000
"""Where the contents of an ELF image begin in the file."""
MIB = 1 << 20
KEOS_BASE = 0xFFFF_FF00_0000_0000
SECTION_HEADER = {32: struct.Struct("<10I"), 64: struct.Struct("<IIQQQQIIQQ")}
PT_NOTE = 4


def elf(
    contents: bytes = b"", *, bits: int = 32, paddr: int = MIB, base: int = 0, entry: int | None = None, memsz: int = 0x2000
) -> bytearray:
    """An ELF file of one segment that holds `contents`, mapped at `base` above its physical address and entered at its start."""
    segment = Segment(Gpa(paddr), Gva(base + paddr), CONTENTS, len(contents), max(memsz, len(contents)), 7)
    headers = HEADER_SIZE[bits] + PROGRAM_HEADER_SIZE[bits]
    return build_elf([segment], base + paddr if entry is None else entry, bytes(CONTENTS - headers) + contents, bits).data


def elf_with_note(note: bytes, *, bits: int = 64, contents: bytes = b"\xf4", entry: int = MIB) -> bytearray:
    """The same with a second program header, of type PT_NOTE, for `note`, which follows the contents in the file."""
    segments = [
        Segment(Gpa(MIB), Gva(MIB), CONTENTS, len(contents), 0x2000, 5),
        Segment(Gpa(0), Gva(0), CONTENTS + len(contents), len(note), len(note), 4),
    ]
    headers = HEADER_SIZE[bits] + 2 * PROGRAM_HEADER_SIZE[bits]
    image = build_elf(segments, entry, bytes(CONTENTS - headers) + contents + note, bits)
    return image.set("p_type", PT_NOTE, program_header=1).data


def note(name: bytes, kind: int, description: bytes) -> bytes:
    def padded(data: bytes) -> bytes:
        return data + bytes(-len(data) % 4)

    return struct.pack("<III", len(name), len(description), kind) + padded(name) + padded(description)


def add_sections(image: bytearray, sections: Sequence[tuple[int, int, bytes]], bits: int = 32, names: int = 1) -> bytearray:
    """Appends sections (sh_type, sh_addr, contents) behind a null section, and their headers."""
    fields: list[tuple[int, int, int, int]] = [(0, 0, 0, 0)]
    for kind, address, contents in sections:
        fields.append((kind, address, len(image), len(contents)))
        image += contents
    table = len(image)
    for kind, address, offset, size in fields:
        image += SECTION_HEADER[bits].pack(0, kind, 0, address, offset, size, 0, 0, 1, 0)
    if bits == 32:
        struct.pack_into("<I", image, 32, table)
        struct.pack_into("<HHH", image, 46, 40, len(fields), names)
    else:
        struct.pack_into("<Q", image, 40, table)
        struct.pack_into("<HHH", image, 58, 64, len(fields), names)
    return image


def multiboot1_header(flags: int = 0, addresses: Sequence[int] = ()) -> bytes:
    """`addresses`: header, load, load end, bss end and entry."""
    magic = 0x1BADB002
    return struct.pack("<3I", magic, flags, -(magic + flags) & 0xFFFFFFFF) + struct.pack(f"<{len(addresses)}I", *addresses)


def multiboot2_header(*tags: bytes, architecture: int = 0) -> bytes:
    magic = 0xE85250D6
    body = b"".join(tag + bytes(-len(tag) % 8) for tag in (*tags, tag2(0)))
    length = 16 + len(body)
    return struct.pack("<4I", magic, architecture, length, -(magic + architecture + length) & 0xFFFFFFFF) + body


def tag2(kind: int, *words: int, optional: bool = False) -> bytes:
    """A tag of the Multiboot2 header."""
    return struct.pack("<HHI", kind, optional, 8 + 4 * len(words)) + struct.pack(f"<{len(words)}I", *words)


def source(data: bytes | bytearray, name: str = "kernel") -> BytesSource:
    return BytesSource(bytes(data), name)
