from kev.boot.base import BootError
from kev.engine.base import EntryState
from kev.engine.registers import SegmentRegister
from tests.boot.images import bzimage
from tests.boot.machine import Booted
from tests.fs.errors import refused

SECTOR = bytes(range(256)) + bytes(254) + b"\x55\xaa"


def test_a_boot_sector_is_entered_in_real_mode_at_0x7c00_and_knows_its_disk() -> None:
    assert Booted(SECTOR).entry == EntryState(
        rip=0x7C00,
        cs=SegmentRegister(0, 0, 0xFFFF, 0x9B),
        data=SegmentRegister(0, 0, 0xFFFF, 0x93),
        cr0=0x30,
        idt_limit=0x3FF,
        gdt_limit=0xFFFF,
        rdx=0x80,
        rsp=0x7C00,
    )


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


def test_the_bios_data_area_is_there() -> None:
    booted = Booted(SECTOR)
    assert booted.u16(0x413) == 639
    assert booted.read(0, 0x400) == bytes(0x400), "there are no interrupt handlers"


def test_a_command_line_is_refused() -> None:
    with refused(BootError, "command line 'quiet': the real_mode boot protocol passes none"):
        Booted(SECTOR, command_line="quiet")
