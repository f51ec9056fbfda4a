"""Guests of the JOS VMM: what they are entered by, and what they find."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kev
from kev.addressing import Gpa
from kev.boot.base import BootError
from kev.boot.jos import boot_sector
from kev.boot.protocols import default_memory
from kev.engine.base import EntryState
from kev.engine.registers import SegmentRegister
from kev.machine.ending import EndingKind
from kev.pager.source import SourceError
from tests.boot.images import CONTENTS, elf, multiboot1_header, source
from tests.boot.machine import Booted
from tests.fs.errors import refused
from tests.machine.code import code
from tests.pager.sources import BytesSource

MIB = 1 << 20
ASK = code("b8 01 00 00 00 0f 01 c1 ; mov eax, 1; vmcall")
KERNEL = elf(ASK, bits=64)
SECTOR = bytes(range(256)) + bytes(254) + b"\x55\xaa"
SHUT_DOWN = code("fa f4 ; cli; hlt")
SHUT_DOWN_TEXT = b"\nHLT in guest, exiting guest.\n"
PRINT = code("b9 04 00 00 00 e6 e9 c1 e8 08 e2 f9 ; mov ecx, 4; 1: out 0xe9, al; shr eax, 8; loop 1b")


def sector_file(folder: Path, text: bytes = b"", size: int = 512) -> str:
    """A boot sector with this code."""
    file = folder / "boot"
    file.write_bytes(text.ljust(size - 2, b"\0") + b"\x55\xaa")
    return str(file)


def words(text: bytes) -> tuple[int, ...]:
    """What a kernel of this code prints behind its question, in words of 4 bytes."""
    output = kev.launch(source(elf(ASK + text + SHUT_DOWN, bits=64)), timeout=30).output
    assert output is not None
    output = output.replace(SHUT_DOWN_TEXT, b"")
    return struct.unpack(f"<{len(output) // 4}I", output)


def show(*moves: str) -> bytes:
    """Each move to EAX, and EAX printed."""
    return b"".join(code(move) + PRINT for move in moves)


@pytest.mark.parametrize("sector", [None, source(SECTOR, "boot")])
def test_the_boot_sector_is_entered_in_real_mode_with_nothing_in_the_registers(sector: BytesSource | None) -> None:
    booted = Booted(KERNEL) if sector is None else Booted(KERNEL, boot_sector=sector)
    segment = SegmentRegister(selector=0, base=0, limit=0xFFFF, access=0x93)
    assert booted.entry == EntryState(rip=0x7000, cs=segment, data=segment, cr0=0x30, cr4=0x2000, gdt_limit=0x30, idt_limit=0x3FF)


def test_nothing_is_loaded_before_it_is_touched_and_then_what_was_given() -> None:
    booted = Booted(elf(ASK, bits=64), boot_sector=source(SECTOR, "boot"))
    assert booted.pager.statistics.loads == 0
    assert booted.read(0x7000, 512) == SECTOR
    assert booted.read(0x7200, 0xE00) == bytes(0xE00)
    assert not booted.is_loaded(MIB)
    assert booted.read(MIB, len(ASK)) == ASK
    assert booted.read(MIB + 0x1000, 0x1000) == bytes(0x1000), "bss"
    assert booted.pager.statistics.loads == 3


def test_there_is_no_bios_and_no_table() -> None:
    booted = Booted(KERNEL)
    assert not booted.protocol.has_bios
    for gpa in (0x0, 0x400, 0x9FC00, 0xE0000, 0xFE000):
        assert booted.read(gpa, 0x400) == bytes(0x400), hex(gpa)


def test_the_kernel_is_entered_in_flat_protected_mode_with_the_gdt_of_the_sector() -> None:
    """It has no stack yet; it stores the GDTR, and loads its segments anew from the GDT."""
    found = words(
        show("89 d8", "8c c8", "8c d8", "8c d0", "8c e0", "0f 20 c0", "0f 20 e0", "89 e0")
        + code("0f 01 05 00 00 20 00 ; sgdt [0x200000]")
        + show("0f b7 05 00 00 20 00", "a1 02 00 20 00")
        + code("66 b8 10 00 8e d8 8e d0 bc 00 7c 00 00 6a 08 e8 00 00 00 00 83 04 24 05 cb ; far return to CS 8, behind this")
        + show("8c c8")
    )
    assert found == (0x6000, 8, 0x10, 0x10, 0x10, 0x31, 0x2000, 0, 23, 0x7038, 8)


@given(st.integers(0, 0xFFFF_FFFF).map(Gpa))
def test_the_sector_jumps_to_any_entry(entry: Gpa) -> None:
    sector = boot_sector(entry)
    assert (len(sector), sector[510:]) == (512, b"\x55\xaa")
    jump = sector.index(b"\xe9")
    assert 0x7000 + jump + 5 + int.from_bytes(sector[jump + 1 : jump + 5], "little") & 0xFFFF_FFFF == entry


def test_a_kernel_with_its_entry_elsewhere_is_entered_there() -> None:
    image = elf(bytes(0x40) + ASK + SHUT_DOWN, bits=64, entry=MIB + 0x40)
    assert kev.launch(source(image), timeout=30).output == SHUT_DOWN_TEXT


def test_the_users_boot_sector_is_what_runs(tmp_path: Path) -> None:
    """It prints its registers, and does not enter the kernel."""
    print_word = "e6 e9 88 e0 e6 e9 ; out 0xe9, al; mov al, ah; out 0xe9, al\n"
    moves = ["89 c0", "89 d8", "89 c8", "89 d0", "89 f0", "89 f8", "89 e8", "89 e0", "8c c8", "8c d8", "8c d0"]
    text = code("".join(f"{move} {print_word}" for move in moves) + "b0 30 e6 e9 fa f4")
    output = kev.launch(source(KERNEL), boot_sector=sector_file(tmp_path, text), timeout=30).output
    assert output == SHUT_DOWN_TEXT + bytes(2 * len(moves)) + b"0"


def test_a_boot_sector_says_what_the_image_is(tmp_path: Path) -> None:
    """The kernel's first hypercall is not the usual one."""
    image = elf(code("b8 06 00 00 00 0f 01 c1 fa f4 ; mov eax, 6; vmcall; cli; hlt"), bits=64)
    sector = sector_file(tmp_path, boot_sector(Gpa(MIB))[:510])
    report = kev.launch(source(image), boot_sector=sector, timeout=30)
    assert (report.ending.kind, report.output) == (EndingKind.EXITED, SHUT_DOWN_TEXT)
    assert report.ram_pages == 4096


@pytest.mark.parametrize("size", [0, 511, 513, 8192])
def test_what_has_not_512_bytes_is_no_boot_sector(size: int) -> None:
    with refused(BootError, f"boot sector boot: has {size:,} bytes: a boot sector has 512"):
        Booted(KERNEL, boot_sector=source(bytes(size), "boot"))


def test_a_sector_without_a_signature_is_no_boot_sector() -> None:
    with refused(BootError, "boot sector boot: ends with 00 aa, not with 55 aa"):
        Booted(KERNEL, boot_sector=source(bytes(511) + b"\xaa", "boot"))


def test_a_boot_sector_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"^boot sector .*nowhere"):
        kev.launch(source(KERNEL), boot_sector=tmp_path / "nowhere")


def test_other_protocols_take_no_boot_sector(tmp_path: Path) -> None:
    sector = sector_file(tmp_path)
    with refused(BootError, f"boot sector {sector}: the multiboot1 boot protocol takes none"):
        kev.launch(source(elf(multiboot1_header())), boot="multiboot1", boot_sector=sector)


def test_a_kernel_where_the_boot_sector_is_is_refused() -> None:
    where = "the segment at 0x6000-0x8000 reaches into 0x7000-0x7200, where the boot sector is"
    with refused(BootError, f"kernel: {where}"):
        Booted(elf(ASK, bits=64, paddr=0x6000))


def test_what_is_no_elf_file_is_refused() -> None:
    with refused(BootError, "kernel: no ELF file, which a guest of the JOS VMM is"):
        Booted(SECTOR, "jos")


def test_there_is_no_way_to_pass_anything() -> None:
    with refused(BootError, "command line 'quiet': the jos boot protocol passes none"):
        Booted(KERNEL, command_line="quiet")


def test_a_guest_that_says_nothing_has_16_mib() -> None:
    assert kev.launch(source(elf(ASK + SHUT_DOWN, bits=64)), timeout=30).ram_pages == 4096
    assert kev.launch(source(elf(ASK + SHUT_DOWN, bits=64)), memory="32M", timeout=30).ram_pages == 8192
    assert default_memory("multiboot1") == 256 * MIB


def test_the_image_is_read_page_by_page() -> None:
    image = source(bytes(elf(ASK + SHUT_DOWN, bits=64, memsz=0x10_0000)) + bytes(0x10_0000))
    assert kev.launch(image, timeout=30).pages_loaded == 3, "the boot sector, the kernel's first page, and the map's"
    assert max(offset for offset, _ in image.reads) <= CONTENTS + 0x1000
