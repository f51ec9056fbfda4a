"""The states of the processor that boot protocols enter a kernel in."""

from typing import Final

from kev.addressing import Gpa
from kev.engine.base import EntryState
from kev.engine.registers import SegmentRegister

MULTIBOOT2_MAGIC: Final = 0x36D7_6289
"""What EAX tells a kernel that comes from a Multiboot2 boot loader."""
CR0_PROTECTED_MODE: Final = 0x31
"""PE, ET and NE."""
_CR0_REAL_MODE: Final = 0x30
_4_GIB: Final = 0xFFFF_FFFF
_FLAT_CODE: Final = 0xC09B
"""Execute and read, 32 bits, limit in pages, present, accessed."""
_FLAT_DATA: Final = 0xC093
_REAL_MODE_LIMIT: Final = 0xFFFF
_REAL_MODE_CODE: Final = 0x9B
_REAL_MODE_DATA: Final = 0x93
_IVT_LIMIT: Final = 0x3FF


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
        cs=SegmentRegister(code, 0, _4_GIB, _FLAT_CODE),
        data=SegmentRegister(data, 0, _4_GIB, _FLAT_DATA),
        cr0=cr0,
        rax=rax,
        rbx=rbx,
        rsi=rsi,
        rsp=rsp,
    )


def real_mode(entry: Gpa, *, rdx: int, rsp: int) -> EntryState:
    """Real mode with all segments at 0, interrupts off; `entry` is below 64 KiB."""
    return EntryState(
        rip=entry,
        cs=SegmentRegister(0, 0, _REAL_MODE_LIMIT, _REAL_MODE_CODE),
        data=SegmentRegister(0, 0, _REAL_MODE_LIMIT, _REAL_MODE_DATA),
        cr0=_CR0_REAL_MODE,
        idt_limit=_IVT_LIMIT,
        gdt_limit=_REAL_MODE_LIMIT,
        rdx=rdx,
        rsp=rsp,
    )
