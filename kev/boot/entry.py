"""The states of the processor that boot protocols enter a kernel in."""

from typing import Final

from kev.addressing import Gpa
from kev.engine.base import EntryState
from kev.engine.registers import SegmentRegister
from kev.x86 import (
    CODE_16,
    CODE_32,
    CR0_PROTECTED_MODE,
    CR0_REAL_MODE,
    DATA_16,
    DATA_32,
    REAL_MODE_IDT_LIMIT,
    REAL_MODE_LIMIT,
)

MULTIBOOT2_MAGIC: Final = 0x36D7_6289
"""What EAX tells a kernel that comes from a Multiboot2 boot loader."""
_4_GIB: Final = 0xFFFF_FFFF


def protected_mode(
    entry: Gpa,
    *,
    code: int,
    data: int,
    cr0: int = CR0_PROTECTED_MODE,
    rax: int = 0,
    rbx: int = 0,
    rsi: int = 0,
    rsp: int = 0,
) -> EntryState:
    """32-bit protected mode without paging and interrupts; flat segments with the selectors `code` and `data`, no GDT."""
    return EntryState(
        rip=entry,
        cs=SegmentRegister(code, 0, _4_GIB, CODE_32),
        data=SegmentRegister(data, 0, _4_GIB, DATA_32),
        cr0=cr0,
        rax=rax,
        rbx=rbx,
        rsi=rsi,
        rsp=rsp,
    )


def real_mode(segment: int, offset: int, *, rdx: int, rsp: int) -> EntryState:
    """Real mode at `segment`:`offset`, with all other segments at 0 and interrupts off."""
    return EntryState(
        rip=offset,
        cs=SegmentRegister(segment, segment << 4, REAL_MODE_LIMIT, CODE_16),
        data=SegmentRegister(0, 0, REAL_MODE_LIMIT, DATA_16),
        cr0=CR0_REAL_MODE,
        idt_limit=REAL_MODE_IDT_LIMIT,
        gdt_limit=REAL_MODE_LIMIT,
        rdx=rdx,
        rsp=rsp,
    )
