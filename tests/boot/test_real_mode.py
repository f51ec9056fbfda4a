import struct

import pytest

from kev.boot.base import BootError
from kev.engine.base import EntryState
from kev.engine.registers import SegmentRegister
from tests.boot.images import bzimage
from tests.boot.machine import Booted
from tests.fs.errors import refused

SECTOR = bytes(range(256)) + bytes(254) + b"\x55\xaa"


def test_a_boot_sector_is_entered_through_the_bios_and_knows_its_disk() -> None:
    booted = Booted(SECTOR)
    assert booted.entry == EntryState(
        rip=0xF800,
        cs=SegmentRegister(0xF000, 0xF0000, 0xFFFF, 0x9B),
        data=SegmentRegister(0, 0, 0xFFFF, 0x93),
        cr0=0x30,
        idt_limit=0x3FF,
        gdt_limit=0xFFFF,
        rbx=0,
        rdx=0,
        rsi=0x7C00,
        rsp=0x7C00,
    )
    assert booted.read(0xFF800, 14).endswith(bytes.fromhex("fb 53 56 cb")), "STI; PUSH BX; PUSH SI; RETF"


def test_a_fat_file_system_of_a_diskettes_size_is_on_one() -> None:
    sector = bytearray(SECTOR)
    sector[0x13:0x16] = (720).to_bytes(2, "little") + b"\xfd"
    assert Booted(bytes(sector).ljust(360 << 10, b"\0")).entry.rdx == 0


@pytest.mark.parametrize(
    ("size", "drive"), [(1440 << 10, 0), (160 << 10, 0), (2880 << 10, 0), (1441 << 10, 0x80), (361 << 10, 0), (700, 0)]
)
def test_what_has_a_diskettes_size_or_is_shorter_and_has_no_partitions_is_on_one(size: int, drive: int) -> None:
    assert Booted(SECTOR.ljust(size, b"\0")).entry.rdx == drive


@pytest.mark.parametrize(
    ("status", "kind", "first", "count", "drive"),
    [
        (0x80, 0x83, 63, 2817, 0x80),
        (0, 6, 1, 100, 0x80),
        (0x80, 0x83, 63, 2818, 0),
        (0x4F, 0x83, 63, 100, 0),
        (0x80, 0, 63, 100, 0),
    ],
)
def test_partitions_that_fit_are_those_of_a_hard_disk(status: int, kind: int, first: int, count: int, drive: int) -> None:
    sector = bytearray(SECTOR)
    sector[0x1BE:0x1CE] = struct.pack("<B3xB3xII", status, kind, first, count)
    assert Booted(bytes(sector).ljust(1440 << 10, b"\0")).entry.rdx == drive


def test_the_sector_is_loaded_when_it_is_fetched() -> None:
    booted = Booted(SECTOR)
    assert booted.pager.statistics.loads == 0
    assert booted.read(0x7C00, 512) == SECTOR


def test_of_a_disk_only_the_first_sector_is_loaded() -> None:
    booted = Booted(SECTOR + b"second sector".ljust(512))
    assert booted.read(0x7C00, 1024) == SECTOR + bytes(512)


def test_a_linux_bzimage_is_refused_by_name() -> None:
    problem = "kernel: its boot sector is that of a Linux kernel, which does nothing but complain: boot it by linux"
    with refused(BootError, problem):
        Booted(bzimage(), "real_mode")


def test_the_bios_data_area_and_its_interrupt_vectors_are_there() -> None:
    booted = Booted(SECTOR)
    assert booted.u16(0x413) == 639
    assert booted.u32(4 * 0x13) == 0xF000_F098
    assert booted.read(0xFF098, 4) == bytes.fromhex("0f 01 c1 cf"), "VMCALL; IRET"


def test_the_rom_is_loaded_when_it_is_fetched() -> None:
    booted = Booted(SECTOR)
    assert not booted.is_loaded(0xFF000)
    assert booted.read(0xFFFF0, 5) == bytes.fromhex("ea 5b e0 00 f0"), "a jump to f000:e05b"


def test_a_command_line_is_refused() -> None:
    with refused(BootError, "command line 'quiet': the real_mode boot protocol passes none"):
        Booted(SECTOR, command_line="quiet")
