"""The notes of a core file: the registers of vCPUs as Linux writes those of threads, and what is kev's own.

struct elf_prstatus and struct user_fxsr_struct of Linux for x86-64 and i386, which debuggers expect.
"""

import struct
from collections.abc import Sequence
from typing import Final

from kev.engine.registers import FpuState
from kev.postmortem.registers import VcpuRegisters

NT_PRSTATUS: Final = 1
NT_FPREGSET: Final = 2
NT_PRXFPREG: Final = 0x46E62B7F
NT_KEV: Final = 0x76656B
"""The type of the note that is JSON, by the name "kev"."""
KEV: Final = "kev"
_CORE: Final = "CORE"
_LINUX: Final = "LINUX"

_HEADER: Final = struct.Struct("<3I")
_PRSTATUS_64: Final = struct.Struct("<3Ih2x2Q4I64x27QI4x")
"""Signal, pending and held signals, process ids, times, the registers, and whether those of the FPU are there."""
_PRSTATUS_32: Final = struct.Struct("<3Ih2x2I4I32x17II")
_ORDER_64: Final = ("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi")
_ORDER_32: Final = ("rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rax")
_NO_SYSTEM_CALL: Final = (1 << 64) - 1
_FXSAVE: Final = struct.Struct("<2HBxHQQ2I128s256s96x")
_MXCSR_MASK: Final = 0xFFFF


def note(name: str, kind: int, contents: bytes) -> bytes:
    """One note of an ELF file (System V ABI, "Note Section")."""
    owner = name.encode() + b"\0"
    return _HEADER.pack(len(owner), len(contents), kind) + _padded(owner) + _padded(contents)


def notes_in(data: bytes) -> Sequence[tuple[str, int, bytes]]:
    """Owner, type and contents of each note, as far as they are whole."""
    found = []
    position = 0
    while position + _HEADER.size <= len(data):
        owner_size, size, kind = _HEADER.unpack_from(data, position)
        begin = position + _HEADER.size + (owner_size + 3 & ~3)
        if begin + size > len(data):
            break
        owner = data[position + _HEADER.size : position + _HEADER.size + owner_size].rstrip(b"\0").decode("utf-8", "replace")
        found.append((owner, kind, data[begin : begin + size]))
        position = begin + (size + 3 & ~3)
    return found


def register_notes(registers: VcpuRegisters, wide: bool) -> bytes:
    """The general and floating-point registers of a vCPU, whose thread id is its number and one.

    RIP, RSP and RBP are linear addresses, as debuggers take them to be.
    """
    if wide:
        return note(_CORE, NT_PRSTATUS, _status_64(registers)) + note(_CORE, NT_FPREGSET, fxsave(registers.fpu))
    return note(_CORE, NT_PRSTATUS, _status_32(registers)) + note(_LINUX, NT_PRXFPREG, fxsave(registers.fpu))


def fxsave(fpu: FpuState) -> bytes:
    """The 512 bytes that FXSAVE stores (Intel SDM vol. 2, "FXSAVE")."""
    tags = sum((fpu.ftw >> 2 * number & 3 != 3) << number for number in range(8))
    stack = b"".join(register.ljust(16, b"\0") for register in fpu.st)
    vectors = b"".join(register.to_bytes(16, "little") for register in fpu.xmm)
    return _FXSAVE.pack(fpu.fcw, fpu.fsw, tags, fpu.fop, fpu.fip, fpu.fdp, fpu.mxcsr, _MXCSR_MASK, stack, vectors)


def _status_64(registers: VcpuRegisters) -> bytes:
    segments = registers.segments
    general = _linear(registers)
    return _PRSTATUS_64.pack(
        *(0, 0, 0, 0, 0, 0),
        *(registers.index + 1, 0, 0, 0),
        *(general[name] for name in _ORDER_64),
        _NO_SYSTEM_CALL,
        registers.linear_rip,
        segments["cs"].selector,
        registers.rflags,
        general["rsp"],
        segments["ss"].selector,
        segments["fs"].base,
        segments["gs"].base,
        *(segments[name].selector for name in ("ds", "es", "fs", "gs")),
        1,
    )


def _status_32(registers: VcpuRegisters) -> bytes:
    segments = registers.segments
    general = {name: value & 0xFFFF_FFFF for name, value in _linear(registers).items()}
    return _PRSTATUS_32.pack(
        *(0, 0, 0, 0, 0, 0),
        *(registers.index + 1, 0, 0, 0),
        *(general[name] for name in _ORDER_32),
        *(segments[name].selector for name in ("ds", "es", "fs", "gs")),
        _NO_SYSTEM_CALL & 0xFFFF_FFFF,
        registers.linear_rip,
        segments["cs"].selector,
        registers.rflags & 0xFFFF_FFFF,
        general["rsp"],
        segments["ss"].selector,
        0,
    )


def _linear(registers: VcpuRegisters) -> dict[str, int]:
    """The general registers, those that point into the stack as linear addresses."""
    stack = {name: registers.linear("ss", registers.general[name]) for name in ("rsp", "rbp")}
    return registers.general | stack


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
