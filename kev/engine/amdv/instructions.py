"""What each intercepted instruction does once the machine has replied: registers, and RIP past it."""

from collections.abc import Callable
from typing import Final

from kev import x86
from kev.addressing import is_canonical
from kev.engine.amdv import layout, vmcb
from kev.engine.amdv.control_registers import (
    read_cr0,
    read_cr8,
    read_descriptor_table,
    write_cr0,
    write_cr3,
    write_cr4,
    write_cr8,
)
from kev.engine.amdv.debug_registers import read_debug_register, write_debug_register
from kev.engine.amdv.decode import LONGEST_INSTRUCTION
from kev.engine.amdv.decode import pushf as decode_pushf
from kev.engine.amdv.descriptor_tables import load_descriptor_table, load_local_table, load_task_register
from kev.engine.amdv.exit_context import ExitContext
from kev.engine.amdv.linear import LinearMemory, stack_slot
from kev.engine.amdv.vcpu import FS, GS, USER_SEGMENT, AmdvVcpu
from kev.exits import (
    GENERAL_PROTECTION,
    INVALID_OPCODE,
    Cpuid,
    CpuidResult,
    Exit,
    Hlt,
    InvalidOpcode,
    Pause,
    Rdmsr,
    Rdtsc,
    Reply,
    TripleFault,
    Vmcall,
    Wrmsr,
)

_MASK32: Final = 0xFFFF_FFFF
_RDTSC_BYTES: Final = b"\x0f\x31"
_PAUSE_BYTES: Final = b"\xf3\x90"
_SEGMENT_BASES: Final = {x86.MSR_FS_BASE: FS, x86.MSR_GS_BASE: GS}
_SEGMENTS_OF_BASES: Final = {**_SEGMENT_BASES, x86.MSR_KERNEL_GS_BASE: GS}  # which SWAPGS makes the base of GS
_MEMORY_TYPES: Final = frozenset({0, 1, 4, 5, 6, 7})
_EFER_WRITABLE: Final = x86.EFER_SCE | x86.EFER_LME | x86.EFER_NXE | x86.EFER_FFXSR


def finish(linear: LinearMemory, vcpu: AmdvVcpu, exit: Exit, reply: Reply) -> None:
    """Completes the instruction behind `exit` with what the machine replied; exits that are not instructions need nothing."""
    match exit, reply:
        case Cpuid(), CpuidResult():
            _finish_cpuid(linear, vcpu, reply)
        case Rdmsr(), int():
            _finish_rdmsr(linear, vcpu, reply)
        case Wrmsr(), int():
            _skip(linear, vcpu, 2)
        case Rdtsc(), int():
            _finish_rdtsc(linear, vcpu, reply)
        case Vmcall(), int():
            vcpu.rax = reply
            _skip(linear, vcpu, 3)
        case InvalidOpcode(), int():
            _finish_carried_out(vcpu)
        case _:
            pass


def _skip(linear: LinearMemory, vcpu: AmdvVcpu, length: int) -> None:
    """Moves RIP past an instruction of `length` bytes and its prefixes, with which it does the same."""
    vcpu.skip(length + linear.prefixes_length(vcpu))


def cpuid(exits: ExitContext, vcpu: AmdvVcpu) -> None:
    reply = exits.reply_or_stop(vcpu, Cpuid(vcpu.rax & _MASK32, vcpu.rcx & _MASK32))
    if isinstance(reply, CpuidResult):
        _finish_cpuid(exits.linear, vcpu, reply)


def _finish_cpuid(linear: LinearMemory, vcpu: AmdvVcpu, result: CpuidResult) -> None:
    vcpu.rax, vcpu.rbx, vcpu.rcx, vcpu.rdx = result.eax, result.ebx, result.ecx, result.edx
    _skip(linear, vcpu, 2)


def msr(exits: ExitContext, vcpu: AmdvVcpu) -> None:
    index = vcpu.rcx & _MASK32
    is_write = vcpu.words[layout.ERROR_CODE >> 2] & 1
    value = (vcpu.rdx & _MASK32) << 32 | vcpu.rax & _MASK32
    if index == x86.MSR_EFER:
        _efer(exits, vcpu, value if is_write else None)
    elif is_write and index in vmcb.CANONICAL_ADDRESSES and exits.intercepts.keeps_msrs:
        _write_address(exits, vcpu, index, value)
    elif is_write and index == x86.MSR_PAT and exits.intercepts.keeps_msrs:
        _write_pat(exits, vcpu, value)
    elif is_write:
        if exits.reply_or_stop(vcpu, Wrmsr(index, value)) is not None:
            _skip(exits.linear, vcpu, 2)
    else:
        reply = exits.reply_or_stop(vcpu, Rdmsr(index))
        if isinstance(reply, int):
            _finish_rdmsr(exits.linear, vcpu, reply)


def _finish_rdmsr(linear: LinearMemory, vcpu: AmdvVcpu, value: int) -> None:
    _load_edx_eax(vcpu, value)
    _skip(linear, vcpu, 2)


def _load_edx_eax(vcpu: AmdvVcpu, value: int) -> None:
    vcpu.rax = value & _MASK32
    vcpu.rdx = value >> 32 & _MASK32


def _efer(exits: ExitContext, vcpu: AmdvVcpu, value: int | None) -> None:
    """EFER without SVME, which stays set because the guest runs under it (AMD64 APM vol. 2, "Extended Feature Enable Register")."""
    if value is None:
        _finish_rdmsr(exits.linear, vcpu, vcpu.efer)
        return
    paging = vcpu.cr0 & x86.CR0_PG
    if value & ~(_EFER_WRITABLE | x86.EFER_LMA) or paging and (value ^ vcpu.efer) & x86.EFER_LME:
        exits.events.raise_exception(vcpu, GENERAL_PROTECTION)
        return
    vcpu.quads[layout.EFER >> 3] = value & _EFER_WRITABLE & ~exits.withheld_efer | vcpu.efer & x86.EFER_LMA | x86.EFER_SVME
    exits.uc.flush_tlb()
    exits.intercepts.follow(vcpu)
    if value & x86.EFER_NXE:
        exits.code.watch()
    _skip(exits.linear, vcpu, 2)


def _write_address(exits: ExitContext, vcpu: AmdvVcpu, index: int, value: int) -> None:
    """An MSR that holds a linear address: it must be canonical (Intel SDM vol. 2, "WRMSR")."""
    if not is_canonical(value):
        exits.events.raise_exception(vcpu, GENERAL_PROTECTION)
        return
    number = _SEGMENTS_OF_BASES.get(index)
    if number is not None:
        selector, base, limit, flags = vcpu.raw_segment(number)
        # The emulated CPU clears the base when IRET leads to CPL 3, unless the segment may be used there.
        vcpu.set_raw_segment(number, selector, value if index in _SEGMENT_BASES else base, limit, flags | USER_SEGMENT)
    if index not in _SEGMENT_BASES:
        vcpu.write_msr(index, value)
    _skip(exits.linear, vcpu, 2)


def _write_pat(exits: ExitContext, vcpu: AmdvVcpu, value: int) -> None:
    """Eight memory types, one in each byte (Intel SDM vol. 3, "IA32_PAT MSR")."""
    if not _MEMORY_TYPES.issuperset(value.to_bytes(8, "little")):
        exits.events.raise_exception(vcpu, GENERAL_PROTECTION)
        return
    vcpu.write_msr(x86.MSR_PAT, value)
    _skip(exits.linear, vcpu, 2)


def rdtsc(exits: ExitContext, vcpu: AmdvVcpu) -> None:
    reply = exits.reply_or_stop(vcpu, Rdtsc())
    if isinstance(reply, int):
        _finish_rdtsc(exits.linear, vcpu, reply)


def _finish_rdtsc(linear: LinearMemory, vcpu: AmdvVcpu, value: int) -> None:
    """RDTSC, or RDTSCP, which the emulated CPU reports as the same exit."""
    _load_edx_eax(vcpu, value)
    prefixes = linear.prefixes_length(vcpu)
    if linear.peek(vcpu, vcpu.instruction_address + prefixes, 2) == _RDTSC_BYTES:
        vcpu.skip(prefixes + 2)
    else:
        vcpu.rcx = vcpu.quads[layout.TSC_AUX >> 3] & _MASK32
        vcpu.skip(prefixes + 3)


def pushf(exits: ExitContext, vcpu: AmdvVcpu) -> None:
    """PUSHF in real mode. Where a vCPU that has left it executes one, that is the last that exits."""
    if vcpu.protected_mode:
        vcpu.shows_rf = True
        exits.intercepts.follow(vcpu)
        exits.slice.do_not_count()
        return
    length, size = decode_pushf(vcpu, exits.linear.peek(vcpu, vcpu.instruction_address, LONGEST_INSTRUCTION))
    flags = vcpu.rflags & ~(x86.RFLAGS_RF | x86.RFLAGS_VM)
    address, rsp = stack_slot(vcpu, size)
    stored = flags & (1 << 8 * size) - 1
    if exits.store(vcpu, address, stored.to_bytes(size, "little")):
        vcpu.rsp = rsp
        vcpu.words[layout.RFLAGS >> 2] &= ~x86.RFLAGS_RF
        vcpu.skip(length)


def hlt(exits: ExitContext, vcpu: AmdvVcpu) -> None:
    _skip(exits.linear, vcpu, 1)
    exits.slice.stop(vcpu, Hlt())


def pause(exits: ExitContext, vcpu: AmdvVcpu) -> None:
    if exits.linear.peek(vcpu, vcpu.instruction_address, 2) == _PAUSE_BYTES:
        vcpu.skip(2)
    else:
        _skip(exits.linear, vcpu, 1)  # REP, which makes NOP a PAUSE, is a prefix
    if exits.slice.service(Pause()) is None:
        exits.slice.stop(vcpu, Pause())


def vmcall(exits: ExitContext, vcpu: AmdvVcpu) -> None:
    reply = exits.reply_or_stop(vcpu, Vmcall())
    if isinstance(reply, int):
        vcpu.rax = reply
        _skip(exits.linear, vcpu, 3)


def invalid_opcode(exits: ExitContext, vcpu: AmdvVcpu) -> None:
    """#UD: the guest's, unless the machine carries the instruction out."""
    if not exits.tells_invalid_opcodes:
        exits.events.raise_exception(vcpu, INVALID_OPCODE)
    elif isinstance(exits.reply_or_stop(vcpu, InvalidOpcode()), int):
        _finish_carried_out(vcpu)


def _finish_carried_out(vcpu: AmdvVcpu) -> None:
    """RIP is past the instruction already, and what else it has changed needs no loading."""
    vcpu.is_edited = False
    vcpu.skip(0)


def shutdown(exits: ExitContext, vcpu: AmdvVcpu) -> None:
    # What a frame would have held is in none.
    vcpu.words[layout.RFLAGS >> 2] &= ~x86.RFLAGS_RF
    exits.slice.stop(vcpu, TripleFault(exits.events.first_vector))


def rdpmc(exits: ExitContext, vcpu: AmdvVcpu) -> None:
    """There are no performance-monitoring counters, so ECX names none that there is (Intel SDM vol. 2, "RDPMC")."""
    exits.events.raise_exception(vcpu, GENERAL_PROTECTION)


def undefined(exits: ExitContext, vcpu: AmdvVcpu) -> None:
    """An instruction that this machine's CPUID does not announce."""
    exits.events.raise_exception(vcpu, INVALID_OPCODE)


INTERCEPTED: Final[dict[int, Callable[[ExitContext, AmdvVcpu], None]]] = {
    vmcb.CR0_READ: read_cr0,
    vmcb.CR8_READ: read_cr8,
    vmcb.CR0_WRITE: write_cr0,
    vmcb.CR3_WRITE: write_cr3,
    vmcb.CR4_WRITE: write_cr4,
    vmcb.CR8_WRITE: write_cr8,
    vmcb.PUSHF: pushf,
    vmcb.CPUID: cpuid,
    vmcb.MSR: msr,
    vmcb.HLT: hlt,
    vmcb.PAUSE: pause,
    vmcb.IDTR_WRITE: load_descriptor_table,
    vmcb.GDTR_WRITE: load_descriptor_table,
    vmcb.LDTR_WRITE: load_local_table,
    vmcb.TR_WRITE: load_task_register,
    vmcb.RDTSC: rdtsc,
    vmcb.RDPMC: rdpmc,
    vmcb.VMMCALL: vmcall,
    vmcb.SHUTDOWN: shutdown,
    vmcb.MONITOR: undefined,
    vmcb.MWAIT: undefined,
    **dict.fromkeys(vmcb.DEBUG_REGISTER_READS, read_debug_register),
    **dict.fromkeys(vmcb.DEBUG_REGISTER_WRITES, write_debug_register),
    **dict.fromkeys(vmcb.SVM_INSTRUCTIONS, undefined),
    **dict.fromkeys(vmcb.DESCRIPTOR_TABLE_READS, read_descriptor_table),
}
