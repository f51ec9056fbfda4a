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
_NO_TABLE: Final = DescriptorTable(0, 0)
_DESCRIPTOR: Final = struct.Struct("<HHBHB")


def protected_mode(
    entry: Gpa,
    *,
    code: int,
    data: int,
    cr0: int = CR0_PROTECTED_MODE,
    gdt: DescriptorTable = _NO_TABLE,
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


def real_mode(entry: Gpa, *, rdx: int, rsp: int) -> EntryState:
    """Real mode with all segments at 0, interrupts off; `entry` is below 64 KiB."""
    return EntryState(
        rip=entry,
        cs=SegmentRegister(0, 0, REAL_MODE_LIMIT, CODE_16),
        data=SegmentRegister(0, 0, REAL_MODE_LIMIT, DATA_16),
        cr0=CR0_REAL_MODE,
        idt_limit=REAL_MODE_IDT_LIMIT,
        gdt_limit=REAL_MODE_LIMIT,
        rdx=rdx,
        rsp=rsp,
    )


def flat_descriptor(access: int) -> bytes:
    """A segment descriptor of all 4 GiB with these access rights, such as `kev.x86.CODE_32`, for a GDT in guest memory."""
    return _DESCRIPTOR.pack(0xFFFF, 0, 0, access | 0x0F00, 0)
