"""Control registers, and the instructions that CR4.UMIP forbids (Intel SDM vol. 3, "Control registers").

The emulated CPU accepts everything in CR0 and CR4, does not know UMIP, and has no interrupt controller behind CR8.
"""

from typing import Final

from kev.engine.amdv import layout
from kev.engine.amdv.decode import LONGEST_INSTRUCTION, Instruction, UndecodableInstruction, clts_length, decode
from kev.engine.amdv.errors import EngineError
from kev.engine.amdv.exit_context import ExitContext
from kev.engine.amdv.libunicorn import REG_CR0, REG_CR4
from kev.engine.amdv.linear import LinearMemory
from kev.engine.amdv.vcpu import CS, FS, GDTR, GS, IDTR, LDTR, LONG_CODE, TR, USER_SEGMENT, AmdvVcpu
from kev.exits import GENERAL_PROTECTION, INVALID_OPCODE, CrAccess
from kev.x86 import (
    CR0_AM,
    CR0_CD,
    CR0_EM,
    CR0_ET,
    CR0_MP,
    CR0_NE,
    CR0_NW,
    CR0_PE,
    CR0_PG,
    CR0_TS,
    CR0_WP,
    CR4_FSGSBASE,
    CR4_PAE,
    CR4_SMEP,
    CR4_UMIP,
    EFER_LME,
)

_CR3: Final = (layout.CONTROL_REGISTERS >> 3) + 3
_CR0_DEFINED: Final = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG
_SMSW: Final = (0x01, 4)
_LMSW: Final = (0x01, 6)
_MOV_TO_CR: Final = 0x22
_PHYSICAL_ADDRESS_BITS: Final = 40
"""As CPUID leaf 80000008h has it."""
_MOV_TO_CR3: Final = b"\x0f\x22"
_LONGEST_MOV: Final = 4
"""With a REX prefix, which it needs for R8 to R15; others are not looked for."""
_REX_RB, _REX_B = 0xF5, 0x41
_LOADED_BY_LMSW: Final = CR0_MP | CR0_EM | CR0_TS
"""And PE, which it sets only."""
_DESCRIPTOR_TABLES: Final = {(0x01, 0): GDTR, (0x01, 1): IDTR}
_SELECTORS: Final = {(0x00, 0): LDTR, (0x00, 1): TR}


def write_cr0(exits: ExitContext, vcpu: AmdvVcpu) -> None:
    """MOV to CR0, LMSW and CLTS. ET is always set."""
    instruction = current_instruction(exits, vcpu)
    if instruction is not None and instruction.opcode == _MOV_TO_CR:
        register = instruction.operand.register
        assert register is not None
        value, length = vcpu.quads[register], instruction.length
        if not vcpu.long_mode:
            value &= 0xFFFF_FFFF
        if not _may_become(vcpu, value):
            exits.events.raise_exception(vcpu, GENERAL_PROTECTION)
            return
    elif instruction is not None and _key(instruction) == _LMSW:
        loaded = _machine_status_word(exits, vcpu, instruction)
        if loaded is None:
            return
        value, length = vcpu.cr0 & ~_LOADED_BY_LMSW | loaded & (_LOADED_BY_LMSW | CR0_PE), instruction.length
    else:
        value, length = vcpu.cr0 & ~CR0_TS, _length_of_clts(exits, vcpu)
    exits.uc.write_register(REG_CR0, value & _CR0_DEFINED | CR0_ET)
    if exits.debug_stops is not None:
        exits.debug_stops.look_again(vcpu)
    vcpu.skip(length)


def _may_become(vcpu: AmdvVcpu, value: int) -> bool:
    """Whether CR0 may have this value: of the lower bits, the reserved ones are ignored."""
    if value >> 32 or value & CR0_PG and not value & CR0_PE or value & CR0_NW and not value & CR0_CD:
        return False
    if vcpu.cr0 & CR0_PG:
        return bool(value & CR0_PG) or not vcpu.in_64_bit_mode
    if value & CR0_PG and vcpu.efer & EFER_LME:
        return bool(vcpu.cr4 & CR4_PAE) and not vcpu.raw_segment(CS)[3] & LONG_CODE
    return True


def _length_of_clts(exits: ExitContext, vcpu: AmdvVcpu) -> int:
    try:
        return clts_length(exits.linear.peek(vcpu, vcpu.instruction_address, LONGEST_INSTRUCTION))
    except UndecodableInstruction:
        raise _vanished(vcpu) from None


def _machine_status_word(exits: ExitContext, vcpu: AmdvVcpu, instruction: Instruction) -> int | None:
    if instruction.operand.register is not None:
        return vcpu.quads[instruction.operand.register]
    loaded = exits.load(vcpu, instruction.operand.linear, 2)
    return None if loaded is None else int.from_bytes(loaded, "little")


def write_cr3(exits: ExitContext, vcpu: AmdvVcpu) -> None:
    """While linear addresses are watched, or for whoever wants to see them."""
    instruction, register = moved_register(exits, vcpu)
    value = vcpu.quads[register]
    if not vcpu.long_mode:
        value &= 0xFFFF_FFFF
    elif value >> _PHYSICAL_ADDRESS_BITS:
        exits.events.raise_exception(vcpu, GENERAL_PROTECTION)
        return
    if exits.intercepts.logs_cr3 and exits.reply_or_stop(vcpu, CrAccess(3, value)) is None:
        return
    vcpu.quads[_CR3] = value
    exits.uc.flush_tlb()
    if exits.debug_stops is not None:
        exits.debug_stops.look_again(vcpu)
    vcpu.skip(instruction.length)


def refuse_cr3(linear: LinearMemory, vcpu: AmdvVcpu, before: int, loaded: int) -> None:
    """MOV to CR3 has set reserved bits, and is taken back: the CPU stands behind it."""
    vcpu.quads[_CR3] = before
    code = linear.peek(vcpu, vcpu.instruction_address - _LONGEST_MOV, _LONGEST_MOV)
    *_, rex, first, second, operand = bytes(_LONGEST_MOV) + code
    if bytes((first, second)) == _MOV_TO_CR3:
        register = operand & 7
        extended = vcpu.quads[register] != loaded and rex & _REX_RB == _REX_B and vcpu.quads[register | 8] == loaded
        vcpu.rip -= _LONGEST_MOV - (not extended)


def has_reserved_bits_in_cr3(vcpu: AmdvVcpu) -> bool:
    return vcpu.quads[_CR3] >> _PHYSICAL_ADDRESS_BITS != 0 and vcpu.long_mode


def write_cr4(exits: ExitContext, vcpu: AmdvVcpu) -> None:
    instruction, register = moved_register(exits, vcpu)
    value = vcpu.quads[register]
    if not vcpu.long_mode:
        value &= 0xFFFF_FFFF
    if value & ~exits.permitted_cr4 or (vcpu.long_mode and not value & CR4_PAE):
        exits.events.raise_exception(vcpu, GENERAL_PROTECTION)
        return
    if value & ~vcpu.cr4 & CR4_FSGSBASE and vcpu.long_mode:
        for number in (FS, GS):
            selector, base, limit, flags = vcpu.raw_segment(number)
            # From now on the guest sets their bases without an exit: IRET to CPL 3 must not clear them (see `wrmsr`).
            vcpu.set_raw_segment(number, selector, base, limit, flags | USER_SEGMENT)
    exits.uc.write_register(REG_CR4, value)
    exits.intercepts.follow(vcpu)
    if value & CR4_SMEP:
        exits.code.watch()
    if exits.debug_stops is not None:
        exits.debug_stops.look_again(vcpu)
    vcpu.skip(instruction.length)


def write_cr8(exits: ExitContext, vcpu: AmdvVcpu) -> None:
    instruction, register = moved_register(exits, vcpu)
    value = vcpu.quads[register]
    if exits.reply_or_stop(vcpu, CrAccess(8, value)) is not None:
        vcpu.skip(instruction.length)


def read_cr8(exits: ExitContext, vcpu: AmdvVcpu) -> None:
    instruction, register = moved_register(exits, vcpu)
    reply = exits.reply_or_stop(vcpu, CrAccess(8, None))
    if isinstance(reply, int):
        vcpu.quads[register] = reply
        vcpu.skip(instruction.length)


def read_cr0(exits: ExitContext, vcpu: AmdvVcpu) -> None:
    """MOV from CR0, and SMSW, while CR4.UMIP is set or outside of IA-32e mode."""
    instruction = current_instruction(exits, vcpu)
    if instruction is None or _key(instruction) == _SMSW:
        _store_system_register(exits, vcpu, instruction)
    else:
        instruction, register = moved_register(exits, vcpu)
        vcpu.quads[register] = vcpu.cr0
        vcpu.skip(instruction.length)


def read_descriptor_table(exits: ExitContext, vcpu: AmdvVcpu) -> None:
    """SGDT, SIDT, SLDT and STR while CR4.UMIP is set, which forbids them outside of CPL 0."""
    _store_system_register(exits, vcpu, current_instruction(exits, vcpu))


def _store_system_register(exits: ExitContext, vcpu: AmdvVcpu, instruction: Instruction | None) -> None:
    if instruction is None:
        exits.events.raise_exception(vcpu, INVALID_OPCODE)
    elif vcpu.cpl and vcpu.cr4 & CR4_UMIP:
        exits.events.raise_exception(vcpu, GENERAL_PROTECTION)
    elif exits.store(vcpu, instruction.operand.linear, _stored(vcpu, instruction)):
        vcpu.skip(instruction.length)


def _stored(vcpu: AmdvVcpu, instruction: "Instruction") -> bytes:
    """What the instruction writes to memory; what goes to a register is written here, and nothing is left."""
    key = _key(instruction)
    if key in _DESCRIPTOR_TABLES:
        _, base, limit, _ = vcpu.raw_segment(_DESCRIPTOR_TABLES[key])
        return limit.to_bytes(4, "little")[:2] + base.to_bytes(8, "little")[: 8 if vcpu.in_64_bit_mode else 4]
    value = vcpu.cr0 if key == _SMSW else vcpu.raw_segment(_SELECTORS[key])[0] & 0xFFFF
    register = instruction.operand.register
    if register is None:
        return (value & 0xFFFF).to_bytes(2, "little")
    if instruction.operand_size == 2:
        value = vcpu.quads[register] & ~0xFFFF | value & 0xFFFF
    vcpu.quads[register] = value
    return b""


def _key(instruction: "Instruction") -> tuple[int, int]:
    """The second byte of the opcode, and its extension in the ModRM byte."""
    return instruction.opcode, instruction.extension & 7


def moved_register(exits: ExitContext, vcpu: AmdvVcpu) -> tuple[Instruction, int]:
    """The move from or to a special register at RIP, and the number of its general register.

    EngineError if the guest's page tables lead to something else by now: the CPU may go on with what they were before.
    """
    instruction = current_instruction(exits, vcpu)
    if instruction is None or instruction.operand.register is None:
        raise _vanished(vcpu)
    return instruction, instruction.operand.register


def _vanished(vcpu: AmdvVcpu) -> EngineError:
    return EngineError(
        f"vCPU {vcpu.index} at RIP {vcpu.rip:#x}: an instruction moves a control or debug register, and is not there any more"
    )


def current_instruction(exits: ExitContext, vcpu: AmdvVcpu) -> Instruction | None:
    """The instruction at RIP, if it is a two-byte one with a ModRM byte."""
    code = exits.linear.peek(vcpu, vcpu.instruction_address, LONGEST_INSTRUCTION)
    try:
        return decode(vcpu, code)
    except UndecodableInstruction:
        return None
