import struct

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.boot.base import BootError, Module
from kev.engine.base import EntryState
from kev.engine.registers import SegmentRegister
from kev.pager.errors import ImageError
from tests.boot.images import MIB, elf_with_note, note, source
from tests.boot.machine import Booted
from tests.fs.errors import refused

ENTRY = MIB + 0x40
PHYS32_ENTRY = 18


def kernel(description: bytes = ENTRY.to_bytes(4, "little"), *, name: bytes = b"Xen\0", kind: int = PHYS32_ENTRY) -> bytearray:
    return elf_with_note(note(b"GNU\0", 3, b"build id") + note(name, kind, description))


@attrs.frozen
class StartInformation:
    """hvm_start_info, version 1, parsed as Xen's start_info.h lays it out."""

    command_line: str
    rsdp: int
    modules: list[tuple[int, int, str]]
    memory_map: list[tuple[int, int, int]]


def parse(booted: Booted) -> StartInformation:
    fields = struct.unpack("<4I4Q2I", booted.read(booted.entry.rbx, 56))
    magic, version, flags, module_count, modules, command_line, rsdp, memory_map, regions, reserved = fields
    assert (magic, version, flags, reserved) == (0x336EC578, 1, 0, 0)
    assert bool(modules) == bool(module_count)
    entries = struct.iter_unpack("<4Q", booted.read(modules, 32 * module_count))
    return StartInformation(
        command_line=booted.string(command_line),
        rsdp=rsdp,
        modules=[(start, size, booted.string(text)) for start, size, text, _ in entries],
        memory_map=[
            (base, length, kind) for base, length, kind, _ in struct.iter_unpack("<QQII", booted.read(memory_map, 24 * regions))
        ],
    )


def test_the_machine_state_is_xens() -> None:
    booted = Booted(kernel())
    assert booted.entry == EntryState(
        rip=ENTRY,
        cs=SegmentRegister(0x08, 0, 0xFFFFFFFF, 0xC09B),
        data=SegmentRegister(0x10, 0, 0xFFFFFFFF, 0xC093),
        cr0=0x11,
        rbx=booted.entry.rbx,
    )


@pytest.mark.parametrize("size", [4, 8])
@pytest.mark.parametrize("bits", [32, 64])
def test_the_entry_has_4_bytes_or_8(size: int, bits: int) -> None:
    assert Booted(elf_with_note(note(b"Xen\0", 18, ENTRY.to_bytes(size, "little")), bits=bits)).entry.rip == ENTRY


def test_the_start_information_describes_the_machine() -> None:
    information = parse(Booted(kernel(), ram=64 * MIB, command_line="console=ttyS0"))
    assert information == StartInformation(
        command_line="console=ttyS0",
        rsdp=0xF2000,
        modules=[],
        memory_map=[
            (0, 0x9FC00, 1),
            (0x9FC00, 0x400, 2),
            (0xF0000, 0x10000, 2),
            (MIB, 63 * MIB, 1),
            (0xFFFC0000, 0x40000, 2),
        ],
    )


def test_the_rsdp_is_where_the_start_information_says() -> None:
    booted = Booted(kernel())
    assert booted.read(parse(booted).rsdp, 8) == b"RSD PTR "


def test_modules_are_listed_with_their_command_lines() -> None:
    booted = Booted(kernel(), modules=(Module("initrd", source(b"a" * 5000)), Module("env", source(b"b"), "text")))
    information = parse(booted)
    assert information.modules == [(MIB + 0x2000, 5000, "initrd"), (MIB + 0x4000, 1, "text")]
    assert booted.read(MIB + 0x2000, 5000) == b"a" * 5000


def test_nothing_is_loaded_before_the_first_instruction() -> None:
    assert Booted(kernel()).pager.statistics.loads == 0


@pytest.mark.parametrize(
    "image", [kernel(name=b"Xem\0"), kernel(kind=17), kernel(b"12"), elf_with_note(b""), elf_with_note(b"\0" * 8)]
)
def test_other_notes_are_none_of_ours(image: bytearray) -> None:
    assert Booted(image).protocol.name == "keos"
    with refused(BootError, "kernel: no ELF note Xen of type 18, which holds the PVH entry"):
        Booted(image, "pvh")


def test_an_entry_outside_the_image_is_refused() -> None:
    with refused(ImageError, "kernel: the PVH entry 0x900000 lies in no segment"):
        Booted(kernel((0x900000).to_bytes(4, "little")))


DAMAGED = struct.pack("<3I", 4, 1000, PHYS32_ENTRY) + b"Xen\0"
GOOD = note(b"Xen\0", PHYS32_ENTRY, ENTRY.to_bytes(4, "little"))


def test_a_note_that_is_longer_than_its_segment_is_named_where_the_entry_is_missing() -> None:
    missing = "kernel: no ELF note Xen of type 18, which holds the PVH entry"
    with refused(BootError, f"{missing}; a note reaches behind the end of its segment, to offset 1016 of 16"):
        Booted(elf_with_note(DAMAGED), "pvh")


@pytest.mark.parametrize("notes", [(DAMAGED, GOOD), (GOOD, DAMAGED), (DAMAGED + GOOD,), (GOOD + DAMAGED,)])
def test_a_damaged_note_costs_itself_alone(notes: tuple[bytes, ...]) -> None:
    booted = Booted(elf_with_note(*notes))
    assert booted.protocol.name == "pvh"
    assert booted.entry.rip == ENTRY


@given(
    before=st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=17)), max_size=3),
    alignment=st.sampled_from([4, 8]),
    size=st.sampled_from([4, 8]),
    bits=st.sampled_from([32, 64]),
)
def test_notes_are_found_behind_others_by_either_alignment(
    before: list[tuple[bytes, bytes]], alignment: int, size: int, bits: int
) -> None:
    others = b"".join(note(name + b"\0", 18, description, alignment=alignment) for name, description in before)
    entry = note(b"Xen\0", 18, ENTRY.to_bytes(size, "little"), alignment=alignment)
    assert Booted(elf_with_note(others + entry, bits=bits, alignment=alignment)).entry.rip == ENTRY


def test_notes_that_are_padded_to_4_bytes_are_found_in_a_segment_aligned_to_8() -> None:
    """As GNU ld leaves them where it puts notes of both kinds into one segment."""
    assert Booted(elf_with_note(note(b"Linux\0", 0x100, b"salt") + GOOD, alignment=8)).entry.rip == ENTRY


@given(st.binary(max_size=64), st.sampled_from([0, 1, 4, 8, 16]))
def test_a_segment_of_any_bytes_does_not_hide_the_next_one(data: bytes, alignment: int) -> None:
    assert Booted(elf_with_note(data, GOOD, alignment=alignment)).protocol.name == "pvh"
