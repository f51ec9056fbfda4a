"""The states of the processor that boot protocols enter a kernel in."""

import struct
from typing import Final

from kev.addressing import Gpa
from kev.engine.base import EntryState
from kev.engine.registers import DescriptorTable, SegmentRegister
from kev.x86 import (
    CODE_16,
    CODE_32,
    CODE_64,
    CR0_PG,
    CR0_PROTECTED_MODE,
    CR0_REAL_MODE,
    CR4_PAE,
    DATA_16,
    DATA_32,
    EFER_LMA,
    EFER_LME,
    REAL_MODE_IDT_LIMIT,
    REAL_MODE_LIMIT,
)

MULTIBOOT2_MAGIC: Final = 0x36D7_6289
"""What EAX tells a kernel that comes from a Multiboot2 boot loader."""
_4_GIB: Final = 0xFFFF_FFFF
_RESET_SEGMENT: Final = 0xF000
_RESET_BASE: Final = 0xFFFF_0000
_RESET_OFFSET: Final = 0xFFF0
_NO_TABLE: Final = DescriptorTable(0, 0)
_DESCRIPTOR: Final = struct.Struct("<HHBHB")


def protected_mode(
    entry: Gpa,
    *,
    code: int,
    data: int,
    cr0: int = CR0_PROTECTED_MODE,
    gdt: DescriptorTable = _NO_TABLE,
    idt_limit: int = 0,
    rax: int = 0,
    rbx: int = 0,
    rsi: int = 0,
    rsp: int = 0,
) -> EntryState:
    """32-bit protected mode without paging and interrupts; flat segments with the selectors `code` and `data`.

    They are loaded, whether `gdt` has them or not.
    """
    return EntryState(
        rip=entry,
        cs=SegmentRegister(code, 0, _4_GIB, CODE_32),
        data=SegmentRegister(data, 0, _4_GIB, DATA_32),
        cr0=cr0,
        gdt_base=gdt.base,
        gdt_limit=gdt.limit,
        idt_limit=idt_limit,
        rax=rax,
        rbx=rbx,
        rsi=rsi,
        rsp=rsp,
    )


def long_mode(entry: Gpa, *, code: int, data: int, page_tables: Gpa, gdt: DescriptorTable, rsi: int = 0) -> EntryState:
    """64-bit mode, interrupts off, with the four-level `page_tables`; flat segments with the selectors `code` and `data`."""
    return EntryState(
        rip=entry,
        cs=SegmentRegister(code, 0, _4_GIB, CODE_64),
        data=SegmentRegister(data, 0, _4_GIB, DATA_32),
        cr0=CR0_PROTECTED_MODE | CR0_PG,
        cr3=page_tables,
        cr4=CR4_PAE,
        efer=EFER_LME | EFER_LMA,
        gdt_base=gdt.base,
        gdt_limit=gdt.limit,
        rsi=rsi,
    )


def boot_sector(drive: int, segment: int, offset: int) -> EntryState:
    """A boot sector at `segment`:`offset`, with the drive's number in DL; the stack grows down from where boot sectors are."""
    from kev.bios.rom import BOOT_SECTOR  # kernels that are entered otherwise do without

    return through_bios(segment, offset, drive=drive, rsp=BOOT_SECTOR)


def through_bios(segment: int, offset: int, *, data: int = 0, drive: int = 0, rsp: int) -> EntryState:
    """Real mode, in the part of the BIOS's ROM that starts the timer, allows interrupts, and goes on to `segment`:`offset`.

    `data` is in all segment registers but CS.
    """
    from kev.bios.rom import FIRST_START, SEGMENT

    return EntryState(
        rip=FIRST_START,
        cs=SegmentRegister(SEGMENT, SEGMENT << 4, REAL_MODE_LIMIT, CODE_16),
        data=SegmentRegister(data, data << 4, REAL_MODE_LIMIT, DATA_16),
        cr0=CR0_REAL_MODE,
        idt_limit=REAL_MODE_IDT_LIMIT,
        gdt_limit=REAL_MODE_LIMIT,
        rbx=segment,
        rdx=drive,
        rsi=offset,
        rsp=rsp,
    )


def reset_vector() -> EntryState:
    """Where a processor begins after a reset: 16 bytes below 4 GiB (Intel SDM vol. 3, "Processor state after reset")."""
    return EntryState(
        rip=_RESET_OFFSET,
        cs=SegmentRegister(_RESET_SEGMENT, _RESET_BASE, REAL_MODE_LIMIT, CODE_16),
        data=SegmentRegister(0, 0, REAL_MODE_LIMIT, DATA_16),
        cr0=CR0_REAL_MODE,
        idt_limit=REAL_MODE_IDT_LIMIT,
        gdt_limit=REAL_MODE_LIMIT,
    )


def flat_descriptor(access: int) -> bytes:
    """A segment descriptor of all 4 GiB with these access rights, such as `kev.x86.CODE_32`, for a GDT in guest memory."""
    return _DESCRIPTOR.pack(0xFFFF, 0, 0, access | 0x0F00, 0)
