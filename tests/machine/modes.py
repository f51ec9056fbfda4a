"""Modes of the processor that a piece of code can run in, with descriptor tables in which every exception ends in a hypercall."""

import ctypes
import struct
from collections.abc import Mapping
from typing import Final

import attrs

from kev.engine.amdv.counting import NATIVE as COUNTING
from kev.engine.amdv.shortcuts import NATIVE
from kev.engine.base import EntryState
from kev.exits import Exit, Vmcall
from tests.machine.code import VMCALL, code
from tests.machine.cpu import CODE, PROTECTED_MODE, REAL_MODE, STACK, Answers, Cpu

TEXT: Final = 0x6000
"""Where the code under test is."""
USER_STACK: Final = 0xC000
INTERRUPT_STACK: Final = 0xB000
"""Interrupt stack 1 of the 64-bit TSS."""
GDT: Final = 0x2000
IDT: Final = 0x3000
TSS: Final = 0x4000
_TABLE_REGISTERS: Final = 0x2FF0
_HANDLERS: Final = 0x20000
_VECTORS: Final = 256

CODE_32, DATA, CODE_64 = 0x08, 0x10, 0x18
USER_CODE_32, USER_DATA, USER_CODE_64 = 0x23, 0x2B, 0x33
NOT_PRESENT, TASK, CODE_16 = 0x38, 0x40, 0x50

_DESCRIPTORS: Final = (
    0,
    0x00CF_9B00_0000_FFFF,
    0x00CF_9300_0000_FFFF,
    0x00AF_9B00_0000_FFFF,
    0x00CF_FB00_0000_FFFF,
    0x00CF_F300_0000_FFFF,
    0x00AF_FB00_0000_FFFF,
    0x00CF_1300_0000_FFFF,
    0x0000_8900_4000_006F,
    0,
    0x000F_9B00_0000_FFFF,
)

PAGE_TABLES: Final = 0x10000
KERNEL_PAGE, READ_ONLY_PAGE, ABSENT_PAGE, NO_EXECUTE_PAGE = 0xD0000, 0xD1000, 0xD2000, 0xD3000
_SPECIAL_PAGES: Final = {KERNEL_PAGE: 0x3, READ_ONLY_PAGE: 0x5, ABSENT_PAGE: 0, NO_EXECUTE_PAGE: 1 << 63 | 7}

_ENABLE_PROTECTION: Final = code("""
    b8 00 00 01 00      ; mov eax, PAGE_TABLES
    0f 22 d8            ; mov cr3, eax
    b8 33 00 01 80      ; mov eax, PG | WP | NE | ET | MP | PE
    0f 22 c0            ; mov cr0, eax
    66 b8 40 00         ; mov ax, TASK
    0f 00 d8            ; ltr ax
""")
_ENABLE_LONG_MODE: Final = code("""
    b8 20 00 00 00      ; mov eax, PAE
    0f 22 e0            ; mov cr4, eax
    b9 80 00 00 c0      ; mov ecx, EFER
    b8 01 09 00 00      ; mov eax, NXE | LME | SCE
    31 d2               ; xor edx, edx
    0f 30               ; wrmsr
""")
_LOAD_TABLES: Final = code("""
    0f 01 15 f0 2f 00 00    ; lgdt [0x2ff0]
    0f 01 1d f8 2f 00 00    ; lidt [0x2ff8]
""")
_LOAD_TABLE_IN_REAL_MODE: Final = code("0f 01 1e f8 2f ; lidt [0x2ff8]")
_LOAD_USER_SEGMENTS: Final = code("""
    6a 2b   ; push USER_DATA
    58      ; pop eax
    8e d8   ; mov ds, eax
    8e c0   ; mov es, eax
""")
_IRET: Final = code("cf")
_IRETQ: Final = code("48 cf")


@attrs.frozen(kw_only=True)
class Mode:
    """How code runs, and what an exception pushes."""

    name: str
    cs: int
    ss: int
    cpl: int = 0
    width: int
    """Bytes of a slot in an exception's frame."""
    long: bool = False
    """EFER.LMA is set."""

    @property
    def real(self) -> bool:
        return self.width == 2

    @property
    def switches_stack(self) -> bool:
        """The frame holds SS and the stack pointer."""
        return self.long or self.cpl == 3

    @property
    def stack(self) -> int:
        """The stack pointer the code starts with."""
        return USER_STACK if self.cpl else STACK


REAL = Mode(name="real", cs=0, ss=0, width=2)
PROTECTED = Mode(name="protected", cs=CODE_32, ss=DATA, width=4)
PROTECTED_USER = Mode(name="protected-user", cs=USER_CODE_32, ss=USER_DATA, cpl=3, width=4)
LONG = Mode(name="long", cs=CODE_64, ss=DATA, width=8, long=True)
LONG_USER = Mode(name="long-user", cs=USER_CODE_64, ss=USER_DATA, cpl=3, width=8, long=True)
COMPATIBILITY_USER = Mode(name="compatibility-user", cs=USER_CODE_32, ss=USER_DATA, cpl=3, width=8, long=True)

EVERY_MODE: Final = (REAL, PROTECTED, PROTECTED_USER, LONG, LONG_USER, COMPATIBILITY_USER)


def cpu_in(
    mode: Mode,
    text: bytes,
    contents: Mapping[int, bytes] | None = None,
    *,
    rflags: int = 2,
    answers: Answers | None = None,
    vcpus: int = 1,
    native: ctypes.CDLL | None = NATIVE,
    counting: ctypes.CDLL | None = COUNTING,
) -> Cpu:
    """A CPU that runs `text` at TEXT in `mode`. Vmcall ends the code, and stands at the beginning of every handler."""
    all_contents = (*_tables(mode).items(), (TEXT, text), *(contents or {}).items())
    entry = _entry(mode)._replace(rsp=STACK)
    return Cpu(_prologue(mode, rflags), all_contents, entry=entry, answers=answers, vcpus=vcpus, native=native, counting=counting)


def handler(vector: int) -> int:
    """Where the handler of a vector is."""
    return _HANDLERS + vector * 16


@attrs.frozen(kw_only=True)
class Delivery:
    """An exception or interrupt, as its handler finds it."""

    vector: int
    rip: int
    cs: int
    rflags: int
    error_code: int | None = None
    rsp: int | None = None
    """Of the interrupted code, with `ss`, where the processor pushes them."""
    ss: int | None = None


def delivery(cpu: Cpu, mode: Mode, exit: Exit, *, error_code: bool) -> Delivery:
    """Reads the frame of the handler that `cpu` has stopped in, which lies at the linear address RSP."""
    assert exit == Vmcall()
    vector, offset = divmod(cpu.vcpu.cs.base + cpu.vcpu.rip - _HANDLERS, 16)
    assert not offset, f"stopped at {cpu.vcpu.cs.base + cpu.vcpu.rip:#x}, which is no handler's beginning"
    slots = [cpu.read(cpu.vcpu.rsp + i * mode.width, mode.width) for i in range(6)]
    code_pushed = slots.pop(0) if error_code else None
    rsp, ss = slots[3:5] if mode.switches_stack else (None, None)
    return Delivery(
        vector=vector, rip=slots[0], cs=slots[1] & 0xFFFF, rflags=slots[2], error_code=code_pushed, rsp=rsp, ss=ss and ss & 0xFFFF
    )


def gate(mode: Mode, vector: int, *, dpl: int = 0, kind: int = 0xE, ist: int = 0, present: bool = True) -> bytes:
    """An IDT entry; in real mode, one of the interrupt vector table."""
    target = handler(vector)
    if mode.real:
        return struct.pack("<HH", target & 0xF, target >> 4)
    access = present << 7 | dpl << 5 | kind
    selector = CODE_64 if mode.long else CODE_32
    low = struct.pack("<HHBBH", target & 0xFFFF, selector, ist, access, target >> 16)
    return low + bytes(8) if mode.long else low


def gate_address(mode: Mode, vector: int) -> int:
    return IDT + vector * _gate_size(mode)


def _gate_size(mode: Mode) -> int:
    return 4 if mode.real else 16 if mode.long else 8


def _entry(mode: Mode) -> EntryState:
    return REAL_MODE if mode.real else PROTECTED_MODE


def _tables(mode: Mode) -> dict[int, bytes]:
    idt = b"".join(gate(mode, vector, dpl=3 if vector in (3, 4) else 0) for vector in range(_VECTORS))
    handlers = b"".join(VMCALL.ljust(16, b"\x90") for _ in range(_VECTORS))
    registers = struct.pack("<HIxxHI", len(_DESCRIPTORS) * 8 - 1, GDT, len(idt) - 1, IDT)
    return {
        GDT: struct.pack(f"<{len(_DESCRIPTORS)}Q", *_DESCRIPTORS),
        IDT: idt,
        TSS: _task_state(mode),
        _TABLE_REGISTERS: registers,
        _HANDLERS: handlers,
        **({} if mode.real else _page_tables(mode)),
    }


def _task_state(mode: Mode) -> bytes:
    """A task state segment whose I/O permission map allows ports 0 to 0x17."""
    state = bytearray(0x70)
    if mode.long:
        struct.pack_into("<Q", state, 4, STACK)
        struct.pack_into("<Q", state, 0x24, INTERRUPT_STACK)
    else:
        struct.pack_into("<IH", state, 4, STACK, DATA)
    struct.pack_into("<H", state, 0x66, 0x68)
    state[0x6B:] = b"\xff" * 5
    return bytes(state)


def _page_tables(mode: Mode) -> dict[int, bytes]:
    """Maps the first MiB one to one, for everybody, but for some pages."""
    flags = [_SPECIAL_PAGES.get(page, 7) for page in range(0, 1 << 20, 0x1000)]
    entries = [page << 12 | bits if bits else 0 for page, bits in enumerate(flags)]
    if mode.long:
        upper = [(PAGE_TABLES + level * 0x1000, struct.pack("<Q", PAGE_TABLES + (level + 1) * 0x1000 | 7)) for level in range(3)]
        return {**dict(upper), PAGE_TABLES + 0x3000: struct.pack("<256Q", *entries)}
    directory = struct.pack("<I", PAGE_TABLES + 0x1000 | 7)
    return {PAGE_TABLES: directory, PAGE_TABLES + 0x1000: struct.pack("<256I", *(entry & 0xFFFF_FFFF for entry in entries))}


def _prologue(mode: Mode, rflags: int) -> bytes:
    if mode.real:
        return _LOAD_TABLE_IN_REAL_MODE + _pushes(rflags, mode.cs, TEXT, size=2) + _IRET
    enable = (_ENABLE_LONG_MODE if mode.long else b"") + _LOAD_TABLES + _ENABLE_PROTECTION
    if mode.cpl:
        enable += _LOAD_USER_SEGMENTS
    if mode.long:
        enable += code("ea") + struct.pack("<IH", CODE + len(enable) + 7, CODE_64)
        return enable + _pushes(mode.ss, mode.stack, rflags, mode.cs, TEXT) + _IRETQ
    stack = (mode.ss, mode.stack) if mode.cpl else ()
    return enable + _pushes(*stack, rflags, mode.cs, TEXT) + _IRET


def _pushes(*values: int, size: int = 4) -> bytes:
    """PUSH of each, in code whose immediate operands have `size` bytes."""
    return b"".join(b"\x68" + value.to_bytes(size, "little") for value in values)
