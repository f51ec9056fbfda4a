import struct
from typing import TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import Gpa
from kev.boot.base import BootError, Module
from kev.boot.boot_params import LinuxInformation, boot_information
from kev.boot.linux_header import read_header
from kev.engine.base import EntryState
from kev.engine.registers import SegmentRegister
from kev.errors import KevError
from kev.pager.memory_region import MemoryRegion, RegionType
from kev.pager.ram import RamError
from tests.boot.images import MIB, bzimage, elf_with_note, note, source
from tests.boot.kernel_files import kernel_file
from tests.boot.machine import Booted
from tests.fs.errors import refused

PREFERRED = 16 * MIB
LINUX_NOTE = note(b"Linux\0", 0x100, b"salt")
CODE_64 = SegmentRegister(0x10, 0, 0xFFFFFFFF, 0xA09B)
CODE_32 = SegmentRegister(0x10, 0, 0xFFFFFFFF, 0xC09B)
DATA = SegmentRegister(0x18, 0, 0xFFFFFFFF, 0xC093)


class HeaderFields(TypedDict, total=False):
    version: int
    relocatable: int
    alignment: int
    preferred: int


class ZeroPage:
    """The zero page of a kernel about to be entered."""

    def __init__(self, booted: Booted) -> None:
        self.booted = booted
        self.data = booted.read(booted.entry.rsi, 4096)

    def field(self, layout: str, offset: int) -> tuple[int, ...]:
        return struct.unpack_from("<" + layout, self.data, offset)

    @property
    def command_line(self) -> str:
        return self.booted.string(self.field("I", 0x228)[0])

    @property
    def initrd(self) -> range:
        start, size = self.field("II", 0x218)
        return range(start, start + size)

    @property
    def regions(self) -> list[tuple[int, ...]]:
        return [self.field("QQI", 0x2D0 + 20 * index) for index in range(self.data[0x1E8])]


def test_a_kernel_with_a_64_bit_entry_is_entered_there_in_long_mode() -> None:
    entry = Booted(bzimage()).entry
    assert entry == EntryState(
        rip=PREFERRED + 0x200,
        cs=CODE_64,
        data=DATA,
        cr0=0x80000031,
        cr3=entry.cr3,
        cr4=0x20,
        efer=0x500,
        gdt_base=entry.gdt_base,
        gdt_limit=0x1F,
        rsi=entry.rsi,
    )


def test_another_one_is_entered_at_its_32_bit_entry() -> None:
    entry = Booted(bzimage(x_load_flags=0)).entry
    assert entry == EntryState(
        rip=PREFERRED, cs=CODE_32, data=DATA, cr0=0x31, gdt_base=entry.gdt_base, gdt_limit=0x1F, rsi=entry.rsi
    )


@pytest.mark.parametrize(("flags", "access"), [(0, 0xC09B), (1, 0xA09B)])
def test_the_gdt_has_the_segments_that_are_loaded(flags: int, access: int) -> None:
    booted = Booted(bzimage(x_load_flags=flags))
    flat = 0x000F_0000_0000_FFFF
    assert struct.unpack("<4Q", booted.read(booted.entry.gdt_base, 32)) == (0, 0, flat | access << 40, flat | 0xC093 << 40)


@given(st.integers(0, (4 << 30) - 1))
def test_the_first_4_gib_are_mapped_at_their_own_addresses(gva: int) -> None:
    booted = Booted(bzimage())
    table = booted.entry.cr3
    for shift in (39, 30):
        (entry,) = struct.unpack("<Q", booted.read(table + 8 * (gva >> shift & 511), 8))
        assert entry & 0xFFF == 0b11
        table = entry & ~0xFFF
    (entry,) = struct.unpack("<Q", booted.read(table + 8 * (gva >> 21 & 511), 8))
    assert entry == gva >> 21 << 21 | 0b1000_0011


def test_the_kernel_is_loaded_where_it_wants_to_be_page_by_page() -> None:
    kernel = bytes(range(256)) * 64
    booted = Booted(bzimage(kernel, signature=b"signed"))
    assert booted.pager.statistics.loads == 0
    assert booted.read(PREFERRED + 0x1010, 16) == kernel[0x1010:0x1020]
    assert booted.pager.statistics.loads == 1
    assert booted.read(PREFERRED + len(kernel), 16) == bytes(16), "the signature is not loaded"


def test_memory_in_which_it_is_decompressed_is_kept_free() -> None:
    booted = Booted(bzimage(init_size=40 * MIB), ram=128 * MIB, modules=(Module("initrd", source(b"x")),))
    assert booted.protocol.image.end == PREFERRED + 40 * MIB
    with refused(
        RamError, "RAM of 57340 KiB ends at 0x37ff000: the kernel ends at 0x3800000 and does not fit: 56 MiB are enough for it"
    ):
        Booted(bzimage(init_size=40 * MIB), ram=56 * MIB - 4096)


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ({}, PREFERRED),
        ({"relocatable": 0, "preferred": MIB}, MIB),
        ({"relocatable": 0}, MIB),
        ({"preferred": MIB, "alignment": 2 * MIB}, 2 * MIB),
        ({"version": 0x0205}, 2 * MIB),
        ({"version": 0x0204}, MIB),
    ],
)
def test_where_it_is_loaded_follows_the_header(fields: HeaderFields, address: int) -> None:
    assert read_header(kernel_file(bzimage(**fields))).load_address == address


def test_a_kernel_that_moves_itself_has_room_there() -> None:
    header = read_header(kernel_file(bzimage(relocatable=0, init_size=3 * MIB)))
    assert (header.load_address, header.end) == (MIB, PREFERRED + 3 * MIB)


def test_the_zero_page_has_the_header_and_what_a_boot_loader_adds() -> None:
    image = bzimage()
    page = ZeroPage(Booted(image, command_line="console=ttyS0"))
    assert page.data[0x1FE:0x210] == image[0x1FE:0x210]
    assert page.data[0x230:0x250] == image[0x230:0x250]
    assert page.field("B", 0x210) == (0xFF,)
    assert page.field("I", 0x214) == (PREFERRED,)
    assert page.command_line == "console=ttyS0"
    assert page.data[0x1EF] == 0
    assert page.field("BB", 6) == (3, 80)
    assert page.field("BB", 0xE) == (25, 1)
    assert page.booted.read(page.field("Q", 0x70)[0], 8) == b"RSD PTR "


def test_the_zero_page_has_the_memory_map() -> None:
    booted = Booted(bzimage(), ram=64 * MIB)
    page = ZeroPage(booted)
    assert page.regions == [
        (0, 0x9FC00, 1),
        (0x9FC00, 0x400, 2),
        (0xF0000, 0x10000, 2),
        (MIB, 63 * MIB, 1),
        (0xFFFC0000, 0x40000, 2),
    ]
    assert page.field("H", 2) == (63 * 1024,)
    assert page.field("I", 0x1E0) == (63 * 1024,)


def test_modules_are_one_initial_ram_disk_as_high_as_it_may_be() -> None:
    booted = Booted(bzimage(), ram=64 * MIB, modules=(Module("a", source(b"a" * 4099)), Module("b", source(b"b" * 10))))
    initrd = ZeroPage(booted).initrd
    assert initrd == range(62 * MIB + 2 * MIB - 0x2000, 64 * MIB - 0x2000 + 4112)
    assert booted.read(initrd.start, len(initrd)) == b"a" * 4099 + b"\0" + b"b" * 10 + bytes(2)


def test_without_modules_there_is_no_initial_ram_disk() -> None:
    assert ZeroPage(Booted(bzimage())).field("II", 0x218) == (0, 0)
    assert ZeroPage(Booted(bzimage(), modules=(Module("empty", source(b"")),))).field("II", 0x218) == (0, 0)


@pytest.mark.parametrize("bits", [32, 64])
def test_a_vmlinux_is_known_by_its_note_and_entered_in_its_mode(bits: int) -> None:
    booted = Booted(elf_with_note(LINUX_NOTE, bits=bits), command_line="quiet")
    assert booted.protocol.name == "linux"
    assert booted.entry.cs == (CODE_64 if bits == 64 else CODE_32)
    assert booted.entry.rip == MIB
    page = ZeroPage(booted)
    assert page.field("H", 0x1FE) == (0xAA55,)
    assert page.data[0x202:0x206] == b"HdrS"
    assert page.field("HxxxxxxxxBB", 0x206) == (0x020F, 0xFF, 1)
    assert page.command_line == "quiet"


def test_a_vmlinux_is_known_by_the_name_of_its_operating_system() -> None:
    assert Booted(elf_with_note(note(b"Xen\0", 6, b"linux\0"))).protocol.name == "linux"
    with refused(BootError, "kernel: made for Xen's paravirtualization, as a note of Xen says"):
        Booted(elf_with_note(note(b"Xen\0", 6, b"netbsd\0")))


def test_pvh_is_preferred_to_the_linux_boot_protocol() -> None:
    pvh = note(b"Xen\0", 18, MIB.to_bytes(4, "little"))
    assert Booted(elf_with_note(LINUX_NOTE + pvh)).protocol.name == "pvh"


def test_random_bytes_are_passed_if_there_are_any() -> None:
    booted = Booted(bzimage(), random=lambda count: b"r" * count)
    (node,) = ZeroPage(booted).field("Q", 0x250)
    assert struct.unpack("<QII", booted.read(node, 16)) == (0, 9, 32)
    assert booted.read(node + 16, 32) == b"r" * 32
    assert ZeroPage(Booted(bzimage())).field("Q", 0x250) == (0,)


@given(st.integers(0, 300), st.booleans())
def test_regions_that_do_not_fit_into_the_zero_page_follow_in_a_list(count: int, entropy: bool) -> None:
    regions = [MemoryRegion(index * MIB, MIB, RegionType.RESERVED) for index in range(count)]
    base = Gpa(0x10000)
    information = LinuxInformation(b"", MIB, "", range(0), regions, 0, 0, b"e" * entropy, long_mode=False)
    data, _ = boot_information(base, information)
    found = list(struct.iter_unpack("<QQI", data[0x2D0 : 0x2D0 + 20 * data[0x1E8]]))
    (node,) = struct.unpack_from("<Q", data, 0x250)
    while node:
        node = _next(data, node - base, found)
    assert found == [(index * MIB, MIB, 2) for index in range(count)]


def _next(data: bytes, offset: int, found: list[tuple[int, ...]]) -> int:
    """The node behind the one at `offset`, whose regions are added to `found`."""
    following, kind, length = struct.unpack_from("<QII", data, offset)
    if kind == 1:
        found.extend(struct.iter_unpack("<QQI", data[offset + 16 : offset + 16 + length]))
    return int(following)


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        (
            bzimage(code32_start=0, version=0x0207, name=b"1.0.0+git"),
            "no Linux kernel, but a program in the form of one, such as iPXE's .lkrn: it has no 32-bit entry (code32_start is 0); "
            'it calls itself "1.0.0+git"; only its 16-bit code can be run: boot it by linux16',
        ),
        (
            bzimage(version=0x0203, name=b"MEMDISK 6.04"),
            "a Linux kernel before 2.6.14, or a program in the form of one, such as memdisk: its boot protocol is 2.03, "
            'and kernels have a 32-bit entry from 2.04 on; it calls itself "MEMDISK 6.04"; '
            "only its 16-bit code can be run: boot it by linux16",
        ),
        (
            bzimage(load_flags=0, name=b""),
            "a zImage, which is loaded below 1 MiB; it does not say what it is; "
            "only its 16-bit code can be run: boot it by linux16",
        ),
        (bzimage()[:0x700], "its kernel lies at 0x600-0x900, the file ends at 0x700: truncated"),
        (bzimage()[:0x250], "the file ends within its Linux boot header, at 0x250"),
    ],
)
def test_what_cannot_be_entered_is_named(image: bytearray, problem: str) -> None:
    with refused(BootError, f"kernel: {problem}"):
        Booted(image, "linux")


def test_what_cannot_be_passed_is_refused() -> None:
    with refused(BootError, "module 'initrd': an initial RAM disk has no command line such as 'text'"):
        Booted(bzimage(), modules=(Module("initrd", source(b"x"), "text"),))
    with refused(BootError, "kernel: the command line has 256 bytes; the kernel takes 255"):
        Booted(bzimage(), command_line="x" * 256)
    Booted(bzimage(), command_line="x" * 255)
    with refused(
        BootError,
        "module 'initrd': the 0x2f00004 bytes of all modules do not fit: what is placed already reaches up to 0x1100000, "
        "and RAM below the devices to 0x4000000",
    ):
        Booted(bzimage(), modules=(Module("initrd", source(bytes(47 * MIB))), Module("b", source(b"b"))), ram=64 * MIB)


@given(st.lists(st.tuples(st.integers(0x1F1, 0x268), st.integers(0, 255)), max_size=8))
def test_a_damaged_header_is_refused_or_harmless(damage: list[tuple[int, int]]) -> None:
    image = bzimage()
    for offset, value in damage:
        image[offset] = value
    try:
        booted = Booted(image, command_line="x")
    except KevError:
        return
    # Without a 32-bit entry, its 16-bit code is entered instead, by way of the BIOS.
    assert booted.protocol.name == "linux16" or booted.protocol.image.start <= booted.entry.rip < booted.protocol.image.end
