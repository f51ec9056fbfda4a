import struct
from itertools import pairwise
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kev
from kev.boot.base import BootError, Module
from kev.engine.base import EntryState
from kev.engine.registers import SegmentRegister
from kev.pager.errors import ImageError
from tests.boot.images import CONTENTS, MIB, add_sections, elf, multiboot1_header, source
from tests.boot.machine import GIB, Booted
from tests.examples import examples
from tests.fs.errors import refused
from tests.machine.code import code

KERNEL = elf(multiboot1_header() + b"\xf4")
ADDRESSES_IN_HEADER = 1 << 16


@attrs.frozen
class Information:
    """The information structure, parsed as section 3.3 of the specification lays it out."""

    lower: int
    upper: int
    command_line: str
    boot_loader_name: str
    modules: list[tuple[int, int, str]]
    memory_map: list[tuple[int, int, int]]
    symbols: tuple[int, int, int, int] | None


def parse(booted: Booted) -> Information:
    base = booted.entry.rbx
    flags = booted.u32(base)
    assert flags & ~0b10_0110_1101 == 0, "only what is defined and given"
    assert flags & 0b10_0100_1101 == 0b10_0100_1101
    modules = []
    for index in range(booted.u32(base + 20)):
        start, end, text, reserved = struct.unpack("<4I", booted.read(booted.u32(base + 24) + 16 * index, 16))
        assert reserved == 0
        modules.append((start, end, booted.string(text)))
    regions = []
    position = booted.u32(base + 48)
    end = position + booted.u32(base + 44)
    while position < end:
        size, start, length, kind = struct.unpack("<IQQI", booted.read(position, 24))
        regions.append((start, start + length, kind))
        position += size + 4
    return Information(
        lower=booted.u32(base + 4),
        upper=booted.u32(base + 8),
        command_line=booted.string(booted.u32(base + 16)),
        boot_loader_name=booted.string(booted.u32(base + 64)),
        modules=modules,
        memory_map=regions,
        symbols=struct.unpack("<4I", booted.read(base + 28, 16)) if flags & 1 << 5 else None,
    )


def test_the_information_is_out_of_reach_of_real_mode_code_with_a_selector_of_protected_mode() -> None:
    """A stack with SS = 10h wraps at 0x100ff, and pops what is there."""
    assert Booted(KERNEL).entry.rbx >= 0x10FFF


def test_the_machine_state_is_the_specifications_with_the_selectors_that_xv6_returns_to() -> None:
    booted = Booted(KERNEL)
    assert booted.entry == EntryState(
        rip=MIB,
        cs=SegmentRegister(0x08, 0, 0xFFFFFFFF, 0xC09B),
        data=SegmentRegister(0x10, 0, 0xFFFFFFFF, 0xC093),
        cr0=0x31,
        idt_limit=0x3FF,
        rax=0x2BADB002,
        rbx=booted.entry.rbx,
        rsp=0x7FF00,
    )


def test_a_kernel_that_pushes_before_it_has_a_stack_runs(tmp_path: Path) -> None:
    image = tmp_path / "kernel"
    image.write_bytes(elf(multiboot1_header() + code("e8 00 00 00 00  58  b0 00  e6 f4"), entry=MIB + 12))
    assert kev.launch(image).exit_code == 0


def test_the_information_leaves_the_first_stack_alone() -> None:
    kernel = multiboot1_header(ADDRESSES_IN_HEADER, [0x4000, 0x4000, 0, 0x7F000, 0x4000])
    booted = Booted(kernel)
    assert (booted.entry.rbx, booted.entry.rsp) == (0x80000, 0x7FF00)
    assert parse(booted).command_line == "kernel"


def test_without_memory_for_it_there_is_no_stack() -> None:
    kernel = multiboot1_header(ADDRESSES_IN_HEADER, [0x4000, 0x4000, 0, 0x8000, 0x4000])
    assert Booted(kernel, ram=512 << 10).entry.rsp == 0x7FF00
    assert Booted(kernel, ram=508 << 10).entry.rsp == 0


def test_the_information_describes_the_machine() -> None:
    information = parse(Booted(KERNEL, ram=64 * MIB, boot_loader_name="loader 1"))
    assert (information.lower, information.upper) == (639, 63 << 10)
    assert information.memory_map == [
        (0, 0x9FC00, 1),
        (0x9FC00, 0xA0000, 2),
        (0xF0000, MIB, 2),
        (MIB, 64 * MIB, 1),
        (0xFFFC0000, 4 * GIB, 2),
    ]
    assert information.boot_loader_name == "loader 1"
    assert information.modules == []


def test_the_command_line_begins_with_the_kernels_name_as_qemus_does() -> None:
    assert parse(Booted(KERNEL)).command_line == "kernel"
    assert parse(Booted(KERNEL, command_line="first second")).command_line == "kernel first second"


def test_base_memory_is_in_the_bios_data_area() -> None:
    booted = Booted(KERNEL)
    assert booted.u16(0x413) == 639
    assert booted.u16(0x40E) << 4 == 0x9FC00
    assert booted.read(0x9FC00, 1) == b"\x01"


def test_the_bios_data_area_names_the_ports_and_the_text_screen() -> None:
    booted = Booted(KERNEL)
    serial = [booted.u16(gpa) for gpa in range(0x400, 0x408, 2)]
    parallel = [booted.u16(gpa) for gpa in range(0x408, 0x40E, 2)]
    assert (serial, parallel) == ([0x3F8, 0, 0, 0], [0x378, 0, 0])
    assert booted.u16(0x410) == 0x4222
    assert (booted.read(0x449, 1), booted.u16(0x44A), booted.u16(0x463)) == (b"\x03", 80, 0x3D4)


def test_modules_follow_the_kernel_on_pages_of_their_own() -> None:
    modules = (Module("initrd", source(b"a" * 5000)), Module("env", source(b"NR_CPUS=1\n"), "env of tests"))
    booted = Booted(KERNEL, modules=modules)
    information = parse(booted)
    assert information.modules == [
        (MIB + 0x2000, MIB + 0x2000 + 5000, "initrd"),
        (MIB + 0x4000, MIB + 0x4000 + 10, "env env of tests"),
    ]
    assert booted.read(MIB + 0x2000, 0x2000) == b"a" * 5000 + bytes(0x2000 - 5000)
    assert booted.read(MIB + 0x4000, 10) == b"NR_CPUS=1\n"


def test_an_empty_module_takes_no_memory() -> None:
    information = parse(Booted(KERNEL, modules=(Module("empty", source(b"")), Module("next", source(b"x")))))
    assert information.modules == [(MIB + 0x2000, MIB + 0x2000, "empty"), (MIB + 0x2000, MIB + 0x2001, "next")]


def test_a_module_is_read_when_it_is_touched_and_only_there() -> None:
    file = source(bytes(100 * 4096))
    booted = Booted(KERNEL, modules=(Module("initrd", file),))
    assert not file.reads
    booted.read(parse(booted).modules[0][0] + 5 * 4096, 1)
    assert file.reads == [(5 * 4096, 4096)]


def test_nothing_is_loaded_before_the_first_instruction() -> None:
    booted = Booted(KERNEL, modules=(Module("initrd", source(b"x")),), command_line="quiet")
    assert booted.pager.statistics.loads == 0
    booted.read(booted.entry.rbx, 4)
    assert booted.pager.statistics.loads == 1


def test_a_kernel_in_base_memory_keeps_its_bytes() -> None:
    low = bytes(range(256)) * 0x980
    kernel = multiboot1_header(ADDRESSES_IN_HEADER, [0x4000, 0x4000, 0, 0, 0x4000]) + low
    booted = Booted(kernel)
    assert booted.read(0x4000, len(kernel)) == kernel
    information = parse(booted)
    assert information.command_line == "kernel"
    assert booted.entry.rbx >= 0x4000 + len(kernel)


def test_a_kernel_that_fills_base_memory_has_the_information_above() -> None:
    kernel = multiboot1_header(ADDRESSES_IN_HEADER, [0x1000, 0x1000, 0, 0x9F000, 0x1000])
    booted = Booted(kernel)
    assert booted.entry.rbx == MIB
    assert parse(booted).lower == 639


def test_the_firmwares_tables_give_way_to_a_kernel_that_lies_there() -> None:
    contents = bytes(range(256)) * 60
    kernel = multiboot1_header(ADDRESSES_IN_HEADER, [0xEE000, 0xEE000, 0, 0, 0xEE000]) + contents
    booted = Booted(kernel)
    assert booted.read(0xEE000, len(kernel)) == kernel
    assert booted.read(0xF2000, 8) == b"RSD PTR "


def test_a_module_that_does_not_fit_is_refused_by_name() -> None:
    modules = (Module("small", source(b"x")), Module("large", source(bytes(2 * MIB))))
    with refused(
        BootError,
        "module 'large': its 0x200000 bytes do not fit: what is placed already reaches up to 0x103000, "
        "and RAM below the devices to 0x300000",
    ):
        Booted(KERNEL, ram=3 * MIB, modules=modules)


def test_information_that_does_not_fit_is_refused() -> None:
    with refused(
        BootError,
        "kernel: 0x2000fc bytes of boot information do not fit: what is placed already reaches up to 0x102000, "
        "and RAM below the devices to 0x300000",
    ):
        Booted(KERNEL, ram=3 * MIB, command_line="x" * 2 * MIB, boot_loader_name="kev")


def test_a_command_line_with_a_zero_byte_is_refused() -> None:
    with refused(BootError, "the string 'kernel a\\x00b' contains a zero byte, which would end it"):
        Booted(KERNEL, command_line="a\0b")


def test_modules_stay_below_the_devices() -> None:
    with refused(
        BootError,
        "module 'huge': its 0xc0000000 bytes do not fit: what is placed already reaches up to 0x102000, "
        "and RAM below the devices to 0xbffda000",
    ):
        Booted(KERNEL, ram=8 * GIB, modules=(Module("huge", Sparse()),))


@attrs.frozen
class Sparse:
    name: str = "huge"
    size: int = 3 * GIB

    def read_into(self, offset: int, buffer: memoryview, /) -> int:
        return len(buffer)


class TestHeader:
    def test_it_may_lie_anywhere_in_the_first_8_kib_at_a_multiple_of_4(self) -> None:
        header = multiboot1_header()
        last = 8192 - CONTENTS - len(header)
        assert Booted(elf(bytes(last) + header)).protocol.name == "multiboot1"
        assert Booted(elf(bytes(last + 4) + header)).protocol.name == "keos"
        assert Booted(elf(bytes(2) + header)).protocol.name == "keos"

    def test_a_wrong_checksum_makes_it_none_and_the_search_goes_on(self) -> None:
        wrong = struct.pack("<3I", 0x1BADB002, 0, 0)
        assert Booted(elf(wrong)).protocol.name == "keos"
        assert Booted(elf(wrong + multiboot1_header(3))).protocol.name == "multiboot1"

    def test_pages_for_modules_and_memory_information_can_be_required(self) -> None:
        assert Booted(elf(multiboot1_header(0b11))).protocol.name == "multiboot1"

    def test_whoever_requires_a_video_mode_gets_text_mode(self) -> None:
        booted = Booted(elf(multiboot1_header(0b111)))
        assert booted.u32(booted.entry.rbx) >> 12 & 1
        framebuffer = struct.unpack("<QIIIBB", booted.read(booted.entry.rbx + 88, 22))
        assert framebuffer == (0xB8000, 160, 80, 25, 16, 2)

    def test_requirements_that_are_not_defined_are_refused(self) -> None:
        with refused(BootError, "kernel: its Multiboot header requires what is not defined: bits 0x4000 of the flags 0x4001"):
            Booted(elf(multiboot1_header(0x4001)))

    def test_wishes_that_are_not_defined_are_ignored(self) -> None:
        assert Booted(elf(multiboot1_header(1 << 20))).protocol.name == "multiboot1"


class TestLoadAddresses:
    def test_a_flat_image_lies_where_its_header_says(self) -> None:
        image = (
            b"before.."
            + multiboot1_header(ADDRESSES_IN_HEADER, [0x200008, 0x200004, 0x200030, 0x203000, 0x20002A])
            + bytes(range(64))
        )
        booted = Booted(image)
        assert booted.entry.rip == 0x20002A
        assert booted.protocol.image.start == 0x200004
        assert booted.protocol.image.end == 0x203000
        assert booted.read(0x200000, 0x40) == bytes(4) + image[4:0x30] + bytes(0x10)

    def test_zeros_mean_the_whole_file_and_no_bss(self) -> None:
        image = multiboot1_header(ADDRESSES_IN_HEADER, [MIB, MIB, 0, 0, MIB]) + bytes(100)
        assert Booted(image).protocol.image.end == MIB + len(image)

    def test_they_take_the_place_of_elf_headers(self) -> None:
        header = multiboot1_header(ADDRESSES_IN_HEADER, [0x400000, 0x400000, 0, 0, 0x400000])
        booted = Booted(elf(header, bits=64, base=0xFFFF_FFFF_8000_0000))
        assert booted.entry.rip == 0x400000
        assert booted.read(0x400000, len(header)) == header
        assert parse(booted).symbols is None

    def test_a_load_address_behind_the_header_is_refused(self) -> None:
        with refused(
            BootError,
            "kernel: the load address 0x100004 does not fit the header, which is at 0x100000 and at offset 0x0 in the file",
        ):
            Booted(multiboot1_header(ADDRESSES_IN_HEADER, [MIB, MIB + 4, 0, 0, MIB]))

    def test_a_load_address_before_the_file_is_refused(self) -> None:
        with refused(
            BootError,
            "kernel: the load address 0xffff0 does not fit the header, which is at 0x100000 and at offset 0x0 in the file",
        ):
            Booted(multiboot1_header(ADDRESSES_IN_HEADER, [MIB, MIB - 16, 0, 0, MIB]))

    def test_ends_that_are_not_in_order_are_refused(self) -> None:
        with refused(
            BootError,
            "kernel: the load address 0x100000, the load end 0x100020 and the bss end 0x100010 are not in order",
        ):
            Booted(multiboot1_header(ADDRESSES_IN_HEADER, [MIB, MIB, MIB + 0x20, MIB + 0x10, MIB]))

    def test_a_file_that_ends_before_the_load_end_is_refused(self) -> None:
        with refused(ImageError, "kernel: segment 0: p_offset 0x0 + p_filesz 0x1000 exceeds the file's size 0x20: truncated"):
            Booted(multiboot1_header(ADDRESSES_IN_HEADER, [MIB, MIB, MIB + 0x1000, 0, MIB]))

    def test_a_header_without_its_addresses_is_refused(self) -> None:
        with refused(BootError, "kernel: the file ends within its Multiboot header, at 0xc"):
            Booted(multiboot1_header(ADDRESSES_IN_HEADER))


class TestSections:
    SYMTAB, STRTAB, NOBITS = 2, 3, 8

    @pytest.mark.parametrize(("bits", "entry_size", "address_at"), [(32, 40, 12), (64, 64, 16)])
    def test_the_section_headers_say_where_sections_are_that_elf_does_not_load(
        self, bits: int, entry_size: int, address_at: int
    ) -> None:
        sections = [(1, MIB, b""), (self.STRTAB, 0, b"names"), (self.SYMTAB, 0, b"s" * 5000), (self.NOBITS, 0, b"")]
        booted = Booted(add_sections(elf(multiboot1_header(), bits=bits), sections, bits, names=2))
        assert booted.protocol.name == "multiboot1"
        symbols = parse(booted).symbols
        assert symbols is not None
        count, size, table, names = symbols
        assert (count, size, names) == (5, entry_size, 2)
        addresses = [booted.u32(table + index * size + address_at) for index in range(count)]
        assert addresses == [0, MIB, MIB + 0x2000, MIB + 0x3000, 0]
        assert booted.read(MIB + 0x2000, 5) == b"names"
        assert booted.read(MIB + 0x3000, 5000) == b"s" * 5000

    def test_modules_go_first(self) -> None:
        image = add_sections(elf(multiboot1_header()), [(self.STRTAB, 0, b"names")])
        information = parse(Booted(image, modules=(Module("initrd", source(b"x")),)))
        assert information.modules[0][0] == MIB + 0x2000

    def test_sections_without_room_have_no_address(self) -> None:
        booted = Booted(add_sections(elf(multiboot1_header()), [(self.STRTAB, 0, bytes(MIB))]), ram=MIB + 0x3000)
        symbols = parse(booted).symbols
        assert symbols is not None
        assert booted.u32(symbols[2] + 40 + 12) == 0

    def test_a_stripped_image_has_none(self) -> None:
        assert parse(Booted(KERNEL)).symbols is None

    def test_damaged_section_headers_are_refused(self) -> None:
        image = add_sections(elf(multiboot1_header()), [(self.STRTAB, 0, b"names")])
        end = len(image)
        for offset, layout, value, message in (
            (46, "<H", 41, "kernel: e_shentsize is 41, not 40"),
            (48, "<H", 9, f"kernel: the section header table ends at offset {end + 7 * 40:#x}, the file at {end:#x}"),
            (end - 40 + 20, "<I", 0x10000, f"kernel: sh_offset 0x100c + sh_size 0x10000 exceeds the file's size {end:#x}"),
        ):
            damaged = bytearray(image)
            struct.pack_into(layout, damaged, offset, value)
            with refused(ImageError, message):
                Booted(damaged)


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)


@settings(max_examples=examples(50))
@given(
    ram_mib=st.integers(2, 5000),
    command_line=TEXTS,
    sizes=st.lists(st.integers(0, 20000), max_size=5),
    bss=st.integers(0x1000, 0x40000),
    start=st.sampled_from([0x4000, 0x20000, MIB, 0x123000]),
)
def test_what_is_written_is_what_is_read(ram_mib: int, command_line: str, sizes: list[int], bss: int, start: int) -> None:
    contents = [bytes([index + 1]) * size for index, size in enumerate(sizes)]
    modules = tuple(Module(f"module {index}", source(data)) for index, data in enumerate(contents))
    kernel = multiboot1_header(ADDRESSES_IN_HEADER, [start, start, 0, start + bss, start])
    booted = Booted(kernel, ram=ram_mib * MIB, command_line=command_line, modules=modules)
    information = parse(booted)
    assert information.command_line == (f"kernel {command_line}" if command_line else "kernel")
    assert [text for _, _, text in information.modules] == [module.name for module in modules]
    assert [booted.read(begin, end - begin) for begin, end, _ in information.modules] == contents
    occupied = sorted([(start, start + bss), *((begin, end) for begin, end, _ in information.modules if begin < end)])
    assert all(first[1] <= second[0] for first, second in pairwise(occupied))
    assert not any(begin <= booted.entry.rbx < end for begin, end in occupied)
    assert booted.read(start, len(kernel)) == kernel
