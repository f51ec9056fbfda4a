import struct

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kev.boot.base import BootError, Module
from kev.engine.base import EntryState
from kev.engine.registers import SegmentRegister
from kev.pager.errors import ImageError
from tests.boot.images import CONTENTS, KEOS_BASE, MIB, add_sections, elf, multiboot2_header, source, tag2
from tests.boot.machine import Booted
from tests.examples import examples
from tests.fs.errors import refused

KERNEL = elf(multiboot2_header() + b"\xf4")
COMMAND_LINE, LOADER_NAME, MODULE, BASIC_MEMORY, BOOT_DEVICE, MEMORY_MAP, FRAMEBUFFER, SECTIONS, RSDP_1, RSDP_2, LOAD_BASE = (
    1,
    2,
    3,
    4,
    5,
    6,
    8,
    9,
    14,
    15,
    21,
)


@attrs.frozen
class Tag:
    type: int
    data: bytes

    def words(self) -> tuple[int, ...]:
        return struct.unpack(f"<{len(self.data) // 4}I", self.data)

    def text(self, offset: int = 0) -> str:
        assert self.data.endswith(b"\0")
        return self.data[offset:-1].decode()


def parse(booted: Booted) -> list[Tag]:
    """The tags, as section 3.6 of the specification lays them out, without the end tag."""
    base = booted.entry.rbx
    assert base % 8 == 0
    data = booted.read(base, booted.u32(base))
    assert data[4:8] == bytes(4)
    tags = []
    position = 8
    while position < len(data):
        kind, size = struct.unpack_from("<2I", data, position)
        tags.append(Tag(kind, data[position + 8 : position + size]))
        position += (size + 7) // 8 * 8
    assert position == len(data)
    assert tags.pop() == Tag(0, b"")
    return tags


def only(booted: Booted, kind: int) -> Tag:
    (tag,) = (tag for tag in parse(booted) if tag.type == kind)
    return tag


def test_the_machine_state_is_the_specifications() -> None:
    booted = Booted(KERNEL)
    assert booted.entry == EntryState(
        rip=MIB,
        cs=SegmentRegister(0x10, 0, 0xFFFFFFFF, 0xC09B),
        data=SegmentRegister(0x18, 0, 0xFFFFFFFF, 0xC093),
        cr0=0x31,
        rax=0x36D76289,
        rbx=booted.entry.rbx,
        rsp=0x7FF00,
    )


def test_a_kernel_gets_every_tag_that_makes_sense() -> None:
    image = add_sections(elf(multiboot2_header()), [(3, 0, b"names")])
    booted = Booted(image, modules=(Module("a", source(b"a")), Module("b", source(b"b"))))
    assert sorted(tag.type for tag in parse(booted)) == [
        COMMAND_LINE,
        LOADER_NAME,
        MODULE,
        MODULE,
        BASIC_MEMORY,
        BOOT_DEVICE,
        MEMORY_MAP,
        FRAMEBUFFER,
        SECTIONS,
        RSDP_1,
        RSDP_2,
        LOAD_BASE,
    ]


def test_the_boot_device_is_the_first_hard_disk_and_no_partition_of_it() -> None:
    assert only(Booted(KERNEL), BOOT_DEVICE).words() == (0x80, 0xFFFFFFFF, 0xFFFFFFFF)


def test_strings_are_those_that_were_given() -> None:
    booted = Booted(KERNEL, command_line="root=/dev/vda quiet", boot_loader_name="loader 1")
    assert only(booted, COMMAND_LINE).text() == "root=/dev/vda quiet"
    assert only(booted, LOADER_NAME).text() == "loader 1 (like GRUB 2)"


def test_the_loaders_name_says_that_command_lines_do_not_begin_with_the_kernels() -> None:
    """Xen looks behind "GRUB " for a 0, which is that of GRUB's first versions, and else drops the first word."""
    text = only(Booted(KERNEL, command_line="console=com1"), LOADER_NAME).text()
    assert text.partition("GRUB ")[2][:1] not in ("", "0")


def test_there_is_a_command_line_even_if_nobody_gave_one() -> None:
    assert only(Booted(KERNEL), COMMAND_LINE).text() == ""


def test_memory_is_described() -> None:
    booted = Booted(KERNEL, ram=64 * MIB)
    assert only(booted, BASIC_MEMORY).words() == (639, 63 << 10)
    tag = only(booted, MEMORY_MAP)
    assert tag.words()[:2] == (24, 0)
    assert list(struct.iter_unpack("<QQII", tag.data[8:])) == [
        (0, 0x9FC00, 1, 0),
        (0x9FC00, 0x400, 2, 0),
        (0xF0000, 0x10000, 2, 0),
        (MIB, 63 * MIB, 1, 0),
        (0xFFFC0000, 0x40000, 2, 0),
    ]


def test_modules_are_where_their_tags_say() -> None:
    booted = Booted(KERNEL, modules=(Module("initrd", source(b"data " * 1000)), Module("x", source(b"env"), "text of x")))
    first, second = (tag for tag in parse(booted) if tag.type == MODULE)
    start, end = struct.unpack_from("<2I", first.data)
    assert start % 4096 == 0
    assert booted.read(start, end - start) == b"data " * 1000
    assert first.text(8) == "initrd"
    start, end = struct.unpack_from("<2I", second.data)
    assert booted.read(start, end - start) == b"env"
    assert second.text(8) == "text of x"


def test_nothing_is_loaded_before_the_first_instruction() -> None:
    file = source(bytes(10 * 4096))
    booted = Booted(KERNEL, modules=(Module("initrd", file),), command_line="quiet")
    assert booted.pager.statistics.loads == 0
    assert not file.reads


def test_the_rsdp_is_a_copy_of_the_one_in_memory() -> None:
    booted = Booted(KERNEL)
    new = only(booted, RSDP_2).data
    assert new == booted.read(0xF2000, 36)
    old = only(booted, RSDP_1).data
    assert (len(old), old[15], sum(old) % 256) == (20, 0, 0)
    assert old[16:20] == new[16:20]


@pytest.mark.parametrize(("bits", "entry_size", "address_at", "layout"), [(32, 40, 12, "<I"), (64, 64, 16, "<Q")])
def test_the_section_headers_say_where_symbols_are(bits: int, entry_size: int, address_at: int, layout: str) -> None:
    sections = [(3, 0, b"names"), (2, 0, b"symbols")]
    booted = Booted(add_sections(elf(multiboot2_header(), bits=bits), sections, bits), "multiboot2")
    tag = only(booted, SECTIONS)
    assert tag.words()[:3] == (3, entry_size, 1)
    (address,) = struct.unpack_from(layout, tag.data, 12 + 2 * entry_size + address_at)
    assert booted.read(address, 7) == b"symbols"


def test_a_keos_kernel_gets_all_of_multiboot2_on_request() -> None:
    booted = Booted(elf(multiboot2_header(), bits=64, base=KEOS_BASE), "multiboot2", command_line="quiet")
    assert booted.entry.rip == MIB
    assert only(booted, COMMAND_LINE).text() == "quiet"


def test_a_string_with_a_zero_byte_is_refused() -> None:
    with pytest.raises(Exception, match="contains a zero byte") as caught:
        Booted(KERNEL, command_line="a\0b")
    assert "'a\\x00b'" in str(caught.value)


class TestHeader:
    def test_it_may_lie_anywhere_in_the_first_32_kib_at_a_multiple_of_8(self) -> None:
        header = multiboot2_header()
        last = 32768 - CONTENTS - len(header)
        assert Booted(elf(bytes(last) + header)).protocol.name == "multiboot2"
        assert Booted(elf(bytes(4) + header)).protocol.name == "keos"
        assert Booted(elf(bytes(32768) + header)).protocol.name == "keos"

    def test_a_header_that_does_not_end_within_32_kib_is_refused(self) -> None:
        header = multiboot2_header()
        with refused(BootError, "kernel: its Multiboot2 header ends at offset 0x8008, behind 0x8000"):
            Booted(elf(bytes(32768 - CONTENTS - len(header) + 8) + header))

    def test_another_architecture_is_refused(self) -> None:
        with refused(BootError, "kernel: its Multiboot2 header is for architecture 4, not for i386 (0)"):
            Booted(elf(multiboot2_header(architecture=4)))

    @pytest.mark.parametrize(
        ("tag", "name"),
        [
            (tag2(4, 0b01), "4 (console flags)"),
            (tag2(77), "77 (unknown)"),
        ],
    )
    def test_a_tag_that_is_required_and_cannot_be_given_is_refused_by_name(self, tag: bytes, name: str) -> None:
        with refused(BootError, f"kernel: its Multiboot2 header requires tag {name}, which cannot be given"):
            Booted(elf(multiboot2_header(tag)))

    @pytest.mark.parametrize("tag", [tag2(4, 0b11), tag2(4, 0b10), tag2(1, MEMORY_MAP, FRAMEBUFFER), tag2(6)])
    def test_whoever_does_not_ask_for_a_framebuffer_gets_text_mode(self, tag: bytes) -> None:
        description = only(Booted(elf(multiboot2_header(tag))), FRAMEBUFFER).data
        assert struct.unpack("<QIIIBB", description[:22]) == (0xB8000, 160, 80, 25, 16, 2)
        assert description[22:] == bytes(2)

    @pytest.mark.parametrize("tags", [(tag2(5, 800, 600, 24),), (tag2(4, 0b01), tag2(5, 800, 600, 24))])
    def test_whoever_asks_for_a_framebuffer_gets_one(self, tags: tuple[bytes, ...]) -> None:
        description = only(Booted(elf(multiboot2_header(*tags))), FRAMEBUFFER).data
        assert struct.unpack("<QIIIBB", description[:22]) == (0xFD000000, 2400, 800, 600, 24, 1)
        assert description[22:] == bytes(2) + bytes((16, 8, 8, 8, 0, 8))

    @pytest.mark.parametrize("tag", [tag2(7), tag2(8, MIB + 8), tag2(9, MIB + 8)])
    def test_what_is_meant_for_efi_firmware_is_ignored(self, tag: bytes) -> None:
        assert Booted(elf(multiboot2_header(tag))).entry.rip == MIB

    @pytest.mark.parametrize("kind", [4, 5, 7, 8, 9, 77])
    def test_an_optional_tag_is_ignored(self, kind: int) -> None:
        assert Booted(elf(multiboot2_header(tag2(kind, 1, 1, 1, optional=True)))).entry.rip == MIB

    def test_a_console_that_is_not_required_is_no_obstacle(self) -> None:
        assert Booted(elf(multiboot2_header(tag2(4, 0b10)))).entry.rip == MIB

    def test_modules_are_always_aligned_to_pages(self) -> None:
        assert Booted(elf(multiboot2_header(tag2(6)))).entry.rip == MIB

    @pytest.mark.parametrize("kind", [0, 22, 99])
    def test_required_information_that_is_not_defined_is_refused(self, kind: int) -> None:
        with refused(BootError, f"kernel: its Multiboot2 header requires information of type {kind}, which is not defined"):
            Booted(elf(multiboot2_header(tag2(1, MEMORY_MAP, kind))))

    @pytest.mark.parametrize("kind", [7, 12, 16])
    def test_information_that_this_machine_does_not_have_can_be_required(self, kind: int) -> None:
        booted = Booted(elf(multiboot2_header(tag2(1, MEMORY_MAP, kind))))
        assert kind not in [tag.type for tag in parse(booted)]

    def test_information_that_there_is_can_be_required(self) -> None:
        kinds = [COMMAND_LINE, LOADER_NAME, MODULE, BASIC_MEMORY, MEMORY_MAP, SECTIONS, RSDP_1, RSDP_2, LOAD_BASE]
        assert Booted(elf(multiboot2_header(tag2(1, *kinds)))).entry.rip == MIB

    def test_information_that_there_is_not_can_be_wished_for(self) -> None:
        assert Booted(elf(multiboot2_header(tag2(1, 8, optional=True)))).entry.rip == MIB

    def test_a_tag_whose_size_cannot_be_is_refused(self) -> None:
        with refused(BootError, "kernel: the Multiboot2 header tag at offset 0x1010 has 4 bytes: it must have 8 to 16"):
            Booted(elf(multiboot2_header(struct.pack("<HHI", 6, 0, 4))))
        with refused(BootError, "kernel: the Multiboot2 header tag at offset 0x1010 has 100 bytes: it must have 8 to 16"):
            Booted(elf(multiboot2_header(struct.pack("<HHI", 6, 0, 100))))

    def test_a_tag_that_is_too_short_for_its_type_is_refused(self) -> None:
        with refused(BootError, "kernel: the Multiboot2 header tag 3 (entry address) has 8 bytes, not 12"):
            Booted(elf(multiboot2_header(tag2(3))))


class TestEntryAndAddresses:
    def test_the_entry_address_tag_takes_the_place_of_elfs(self) -> None:
        booted = Booted(elf(multiboot2_header(tag2(3, MIB + 0x20)), bits=64, base=0xFFFF_FFFF_8000_0000))
        assert booted.entry.rip == MIB + 0x20

    def test_an_entry_address_outside_the_image_is_refused(self) -> None:
        with refused(ImageError, "kernel: the entry address of its Multiboot2 header 0x900000 lies in no segment"):
            Booted(elf(multiboot2_header(tag2(3, 0x900000))))

    def test_a_flat_image_lies_where_its_address_tag_says(self) -> None:
        image = bytes(8) + multiboot2_header(tag2(2, 0x200008, 0x200008, 0, 0x209000), tag2(3, 0x200010)) + b"text"
        booted = Booted(image)
        assert booted.entry.rip == 0x200010
        assert booted.protocol.image.end == 0x209000
        assert booted.read(0x200008, len(image) - 8) == image[8:]
        assert not [tag for tag in parse(booted) if tag.type == SECTIONS]

    def test_a_load_address_of_minus_1_means_the_beginning_of_the_file(self) -> None:
        image = b"first..." + multiboot2_header(tag2(2, 0x200008, 0xFFFFFFFF, 0, 0), tag2(3, 0x200008))
        assert Booted(image).read(0x200000, 8) == b"first..."

    def test_an_address_tag_without_an_entry_address_tag_is_refused(self) -> None:
        with refused(BootError, "kernel: its Multiboot2 header has an address tag, but no entry address tag"):
            Booted(multiboot2_header(tag2(2, MIB, MIB, 0, 0)))


class TestRelocatableKernels:
    def test_a_kernel_stays_where_it_is_linked_and_is_told_so(self) -> None:
        booted = Booted(elf(multiboot2_header(tag2(10, MIB, 16 * MIB, 4096, 0))))
        assert only(booted, LOAD_BASE).words() == (MIB,)

    @pytest.mark.parametrize("wish", [(2 * MIB, 16 * MIB, 4096), (0, MIB + 0x1000, 4096), (0, 16 * MIB, 2 * MIB)])
    def test_a_kernel_that_would_have_to_be_moved_is_refused(self, wish: tuple[int, int, int]) -> None:
        lowest, highest, alignment = wish
        with refused(
            BootError,
            f"kernel: its Multiboot2 header wants it between {lowest:#x} and {highest:#x}, aligned to {alignment:#x}: "
            "it is linked at 0x100000-0x102000, and cannot be moved",
        ):
            Booted(elf(multiboot2_header(tag2(10, lowest, highest, alignment, 0))))


@settings(max_examples=examples(50))
@given(
    command_line=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=100),
    sizes=st.lists(st.integers(0, 20000), max_size=4),
    ram_mib=st.integers(2, 5000),
)
def test_what_is_written_is_what_is_read(command_line: str, sizes: list[int], ram_mib: int) -> None:
    contents = [bytes([index + 1]) * size for index, size in enumerate(sizes)]
    modules = tuple(Module(f"module {index}", source(data)) for index, data in enumerate(contents))
    booted = Booted(KERNEL, ram=ram_mib * MIB, command_line=command_line, modules=modules)
    assert only(booted, COMMAND_LINE).text() == command_line
    tags = [tag for tag in parse(booted) if tag.type == MODULE]
    places = [struct.unpack_from("<2I", tag.data) for tag in tags]
    assert [booted.read(start, end - start) for start, end in places] == contents
    assert booted.read(MIB, 24) == KERNEL[CONTENTS : CONTENTS + 24]
