"""Images that want what there is not, and odd ones that are legal all the same."""

import struct

import pytest

from kev.addressing import GIB
from kev.boot.detection import open_kernel
from kev.boot.inspection import inspect
from kev.errors import KevError
from kev.machine.launcher import prepare
from kev.pager.image import MOST_SEGMENTS
from tests.pager.sources import BytesSource

CODE = bytes.fromhex("b015e6f4f4")
"""Ends with 43."""
ENTRY = 0x20_0000
BEHIND = 0x1000
"""Where the code is in a file with few headers."""


def header(
    paddr: int = ENTRY,
    *,
    kind: int = 1,
    offset: int = BEHIND,
    filesz: int = 64,
    memsz: int = 64,
    align: int = 0x1000,
    vaddr: int | None = None,
) -> bytes:
    """A program header of a 32-bit file."""
    return struct.pack("<8I", kind, offset, paddr if vaddr is None else vaddr, paddr, filesz, memsz, 7, align)


def elf(
    *headers: bytes, shoff: int = 0, shentsize: int = 40, shnum: int = 0, behind: int = BEHIND, rest: bytes = b""
) -> BytesSource:
    ident = b"\x7fELF\1\1\1" + bytes(9)
    fields = struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, ENTRY, 52, shoff, 0, 52, 32, len(headers), shentsize, shnum, 0)
    return BytesSource((ident + fields + b"".join(headers)).ljust(behind, b"\0") + CODE.ljust(64, b"\xf4") + rest)


@pytest.mark.parametrize("memory", [GIB // 4, 8 * GIB])
@pytest.mark.parametrize(
    ("start", "size", "what"),
    [
        (0xA0000, 0x1000, "the memory of the VGA is"),
        (0xB8000, 16, "the memory of the VGA is"),
        (0x9F000, 0x4000, "the memory of the VGA is"),
        (0xBFFF_0000, 0x20000, "devices are"),
        (0xC000_0000, 16, "devices are"),
        (0xCAFE_0000, 0x1000, "devices are"),
        (0xFEC0_0000, 0x1000, "devices are"),
        (0xFEE0_0300, 16, "devices are"),
        (0xFFFF_F000, 0x1000, "devices are"),
    ],
)
def test_nothing_is_loaded_where_devices_are(start: int, size: int, what: str, memory: int) -> None:
    image = elf(header(), header(start, filesz=16, memsz=size))
    with pytest.raises(KevError) as caught:
        prepare(image, memory=memory)
    assert str(caught.value).startswith(f"kernel: the segment at {start:#x}-{start + size:#x} reaches into 0x")
    assert str(caught.value).endswith(f"where {what}")
    assert str(inspect(image).error) == str(caught.value)


def multiboot1(*addresses: int) -> BytesSource:
    magic, flags = 0x1BAD_B002, 1 << 16
    words = (magic, flags, -(magic + flags) & 0xFFFF_FFFF, *(address & 0xFFFF_FFFF for address in addresses))
    return BytesSource(struct.pack("<8I", *words).ljust(64, b"\0") + CODE.ljust(0x1000, b"\xf4"))


@pytest.mark.parametrize(
    ("addresses", "message"),
    [
        ((0x10_0000, -1, 0, 0, 0x10_0040), "the load address 0xffffffff does not fit the header"),
        ((-1, -1, -1, -1, -1), "are not in order"),
        ((0x10_0000, 0x10_0000, 0x0F_FFFC, 0, 0x10_0040), "are not in order"),
        ((0x10_0000, 0x10_0000, 0, 0xFFFF_FFFF, 0x10_0040), "reaches into"),
        ((0xFEE0_0000, 0xFEE0_0000, 0, 0, 0xFEE0_0040), "where devices are"),
        ((0x10_0000, 0x10_0000, 0, 0, -1), "the entry 0xffffffff lies in no segment"),
    ],
)
def test_load_addresses_of_multiboot_that_make_no_sense_are_refused(addresses: tuple[int, ...], message: str) -> None:
    with pytest.raises(KevError, match=message):
        open_kernel(multiboot1(*addresses), "multiboot1")


def test_a_multiboot2_header_below_its_offset_is_refused() -> None:
    magic, length = 0xE852_50D6, 16 + 24 + 16 + 8
    tags = (
        struct.pack("<HHI4I", 2, 0, 24, 16, 0xFFFF_FFFF, 0, 0)
        + struct.pack("<HHIII", 3, 0, 12, 0x100, 0)
        + struct.pack("<HHI", 0, 0, 8)
    )
    head = bytes(64) + struct.pack("<4I", magic, 0, length, -(magic + length) & 0xFFFF_FFFF) + tags
    with pytest.raises(KevError, match=r"is at offset 0x40, and wants to be at 0x10 with all of the file loaded"):
        open_kernel(BytesSource(head.ljust(0x1000, b"\xf4")), "multiboot2")


def test_more_segments_than_kernels_have_are_refused_with_the_limit() -> None:
    many = [header(0x30_0000 + 16 * index, offset=0x21_0000, filesz=8, memsz=8) for index in range(65533)]
    with pytest.raises(KevError, match=rf"^kernel: 65534 program headers have something to load: the most is {MOST_SEGMENTS}"):
        open_kernel(elf(header(offset=0x21_0000), *many, behind=0x21_0000))


def test_notes_are_read_up_to_a_limit_however_often_a_header_names_them() -> None:
    empty = struct.pack("<III", 0, 0, 1) * 5461
    notes = header(kind=4, offset=0x21_0040, filesz=len(empty), memsz=0)
    image = elf(header(offset=0x21_0000), *[notes] * 65_000, behind=0x21_0000, rest=empty)
    assert open_kernel(image).image.start == ENTRY
    assert sum(length for _, length in image.reads) < 16 << 20


SECTIONS = struct.pack("<10I", 0, 0, 0, 0, 0, 65_535, 0, 0, 0, 0) + bytes(40) * 65_534


@pytest.mark.parametrize(
    "image",
    [
        elf(header(), header(ENTRY + 0x800, offset=BEHIND + 8, filesz=8, memsz=8)),
        elf(header(), header(0x30_0000, filesz=0, memsz=0)),
        elf(header(), header(0xFFFF_FFF0, offset=0xFFFF_FFFF, filesz=0, memsz=0)),
        elf(header(), header(0x30_0000, offset=0xFFFF_FFF0, filesz=0, memsz=0x1000)),
        elf(header(vaddr=0)),
        elf(header(0x30_0000, offset=BEHIND + 16, filesz=8, memsz=8), header()),
        elf(header(align=3)),
        elf(header(), shoff=0xFFFF_FFF0, shnum=9),
        elf(header(), shoff=BEHIND, shnum=3, shentsize=0),
        elf(header(), header(kind=0x6FFF_FFFF, offset=0xFFFF_FFFF, filesz=0xFFFF_FFFF)),
        elf(header(), header(kind=4, offset=0xFFFF_F000, filesz=0x1000)),
        elf(header(), header(kind=4, offset=BEHIND + 64), rest=b"\xff" * 64),
        elf(header(), shoff=BEHIND + 64, rest=SECTIONS),
        elf(header(), shoff=BEHIND + 64, shnum=65_535, rest=SECTIONS),
    ],
    ids=[
        "segments share a page", "an empty segment", "an empty segment anywhere", "no bytes from anywhere", "vaddr 0",
        "out of order", "a wrong alignment", "section headers are nowhere", "section headers of no size", "an unknown header",
        "a note is nowhere", "a damaged note", "65535 section headers", "65535 section headers, unextended",
    ],
)  # fmt: skip
def test_what_is_odd_but_legal_boots(image: BytesSource) -> None:
    kernel = open_kernel(image)
    assert kernel.image.entry == ENTRY
    assert inspect(image).error is None
