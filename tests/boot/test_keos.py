import struct

import pytest

from kev.boot.base import BootError, Module
from kev.engine.base import EntryState
from kev.engine.registers import SegmentRegister
from kev.pager.errors import PagerError
from tests.boot.images import KEOS_BASE, MIB, elf, multiboot2_header, source
from tests.boot.machine import GIB, Booted
from tests.fs.errors import refused

KERNEL = elf(multiboot2_header(), bits=64, base=KEOS_BASE, entry=KEOS_BASE + MIB + 0x18)


def memory_map(booted: Booted) -> list[tuple[int, int, int]]:
    """(base, length, type) of every region, from an information that holds a memory map and nothing else."""
    total, reserved, tag, size, entry_size, version = struct.unpack("<6I", booted.read(0, 24))
    assert (reserved, tag, entry_size, version) == (0, 6, 24, 0)
    assert struct.unpack("<2I", booted.read(8 + size, 8)) == (0, 8)
    assert total == 8 + size + 8
    entries = struct.iter_unpack("<QQII", booted.read(24, size - 16))
    return [(base, length, kind) for base, length, kind, _ in entries]


def test_the_kernel_is_entered_as_kev_enters_keos() -> None:
    assert Booted(KERNEL).entry == EntryState(
        rip=0x100018,
        cs=SegmentRegister(0x10, 0, 0xFFFFFFFF, 0xC09B),
        data=SegmentRegister(0x18, 0, 0xFFFFFFFF, 0xC093),
        cr0=0x31,
        rax=0x36D76289,
        rsp=0xA0000,
    )


def test_the_memory_map_has_all_ram_but_the_page_it_is_in() -> None:
    assert memory_map(Booted(KERNEL, ram=64 * MIB)) == [(0x1000, 64 * MIB - 0x1000, 1)]


def test_ram_goes_on_above_the_devices() -> None:
    ram = memory_map(Booted(KERNEL, ram=4 * GIB))
    assert ram == [(0x1000, 0xBFFDA000 - 0x1000, 1), (4 * GIB, GIB + 0x26000, 1)]


def test_nothing_is_loaded_before_the_first_instruction() -> None:
    assert Booted(KERNEL).pager.statistics.loads == 0


def test_the_tables_of_the_processors_are_there() -> None:
    booted = Booted(KERNEL, vcpus=4)
    assert booted.read(0xF2000, 8) == b"RSD PTR "
    assert booted.read(0xF0000, 4) == b"_MP_"


def test_a_kernel_that_needs_page_0_is_refused() -> None:
    with refused(BootError, "kernel: it is loaded at 0x800, where the keos boot protocol has its information"):
        Booted(elf(b"\xf4", paddr=0x800), "keos")


def test_modules_are_refused() -> None:
    with refused(BootError, "module 'initrd': the keos boot protocol passes no modules"):
        Booted(KERNEL, modules=(Module("initrd", source(b"x")),))


def test_a_command_line_follows_the_memory_map() -> None:
    booted = Booted(KERNEL, command_line="syscall::pipe_normal")
    total, _, tag, size = struct.unpack("<4I", booted.read(0, 16))
    assert (tag, total) == (6, 8 + size + 32 + 8)
    assert booted.read(8 + size, 40) == struct.pack("<II24sII", 1, 29, b"syscall::pipe_normal", 0, 8)


def test_a_command_line_that_does_not_fit_into_the_page_is_refused() -> None:
    with refused(PagerError, "the boot information has 5072 bytes, with a command line of 5000; 4096 fit"):
        Booted(KERNEL, command_line="x" * 5000)


@pytest.mark.parametrize("bits", [32, 64])
def test_an_elf_kernel_without_headers_is_entered_at_its_physical_entry(bits: int) -> None:
    booted = Booted(elf(b"\x90\xf4", bits=bits, entry=MIB + 1))
    assert booted.entry.rip == MIB + 1
    assert booted.entry.cr0 == 0x31
