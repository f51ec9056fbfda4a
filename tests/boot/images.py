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


def elf_with_note(
    *notes: bytes, bits: int = 64, contents: bytes = b"\xf4", entry: int = MIB, alignment: int = 4, kind: int = PT_NOTE
) -> bytearray:
    """The same with a program header more for each of `notes`, of type PT_NOTE; they follow the contents in the file."""
    segments = [Segment(Gpa(MIB), Gva(MIB), CONTENTS, len(contents), 0x2000, 5)]
    offset = CONTENTS + len(contents)
    for one in notes:
        segments.append(Segment(Gpa(0), Gva(0), offset, len(one), len(one), 4))
        offset += len(one)
    headers = HEADER_SIZE[bits] + len(segments) * PROGRAM_HEADER_SIZE[bits]
    image = build_elf(segments, entry, bytes(CONTENTS - headers) + contents + b"".join(notes), bits)
    for index in range(1, len(segments)):
        image.set("p_type", kind, program_header=index).set("p_align", alignment, program_header=index)
    return image.data


def note(name: bytes, kind: int, description: bytes, *, alignment: int = 4) -> bytes:
    """Its description and its end are aligned from its beginning on."""
    data = struct.pack("<III", len(name), len(description), kind) + name
    data += bytes(-len(data) % alignment) + description
    return data + bytes(-len(data) % alignment)


def bzimage(
    kernel: bytes = b"\xf4" * 0x300,
    *,
    version: int = 0x020F,
    load_flags: int = 1,
    x_load_flags: int = 1,
    code32_start: int = MIB,
    relocatable: int = 1,
    alignment: int = 0x20_0000,
    preferred: int = 0x100_0000,
    init_size: int = 0x10_0000,
    name: bytes = b"6.1.0-test (someone@somewhere) #1",
    signature: bytes = b"",
) -> bytearray:
    """A Linux kernel of two setup sectors (Linux, Documentation/arch/x86/boot.rst)."""
    image = bytearray(3 * 512)
    image[0x1F1] = 2
    image[0x1FE:0x206] = b"\x55\xaa\xeb\x6aHdrS"
    kernel = kernel + bytes(-len(kernel) % 16)
    for offset, layout, value in (
        (0x1F4, "<I", len(kernel) // 16), (0x206, "<H", version), (0x20E, "<H", 0x300 if name else 0), (0x211, "<B", load_flags),
        (0x214, "<I", code32_start), (0x22C, "<I", 0x7FFF_FFFF), (0x230, "<I", alignment), (0x234, "<B", relocatable),
        (0x236, "<H", x_load_flags), (0x238, "<I", 255), (0x258, "<Q", preferred), (0x260, "<I", init_size),
    ):  # fmt: skip
        struct.pack_into(layout, image, offset, value)
    image[0x500 : 0x500 + len(name)] = name
    return image + kernel + signature


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
