"""LGDT, LIDT, LLDT and LTR (Intel SDM vol. 2), which the emulated CPU lets load addresses that are not canonical."""

from typing import Final

from kev.addressing import is_canonical
from kev.engine.amdv.control_registers import current_instruction
from kev.engine.amdv.decode import Instruction
from kev.engine.amdv.exit_context import ExitContext
from kev.engine.amdv.vcpu import GDTR, IDTR, LDTR, TR, AmdvVcpu
from kev.exits import GENERAL_PROTECTION, INVALID_OPCODE, GuestException
from kev.named_tuple import NamedTuple
from kev.x86 import GENERAL_PROTECTION as GENERAL_PROTECTION_VECTOR
from kev.x86 import SEGMENT_NOT_PRESENT

_LIDT: Final = 3  # extension of the opcode; that of LGDT is 2
_16_BIT_BASE: Final = 0xFF_FFFF

_SELECTOR_TABLE: Final = 1 << 2
_SELECTOR_RPL: Final = 3

# In a descriptor's second word (vol. 3, "System descriptor types").
_TYPE: Final = 0x1F << 8
"""With the S flag, which is clear in system descriptors."""
_PRESENT: Final = 1 << 15
_GRANULARITY: Final = 1 << 23
_BUSY: Final = 1 << 9
_TYPE_LDT: Final = 2 << 8
_TYPE_TSS_16: Final = 1 << 8
_TYPE_TSS: Final = 9 << 8


class _Descriptor(NamedTuple):
    address: int
    base: int
    limit: int
    flags: int
    """The second word."""


class _Invalid(Exception):
    """The instruction raises an exception; or one is on its way, or the slice has ended: None."""

    def __init__(self, exception: GuestException | None) -> None:
        super().__init__()
        self.exception = exception


def load_descriptor_table(exits: ExitContext, vcpu: AmdvVcpu) -> None:
    """LGDT and LIDT."""
    instruction = current_instruction(exits, vcpu)
    if instruction is None or instruction.operand.register is not None:
        exits.events.raise_exception(vcpu, INVALID_OPCODE)
        return
    loaded = exits.load(vcpu, instruction.operand.linear, 10 if vcpu.in_64_bit_mode else 6)
    if loaded is None:
        return
    limit, base = int.from_bytes(loaded[:2], "little"), int.from_bytes(loaded[2:], "little")
    if not vcpu.in_64_bit_mode and instruction.operand_size == 2:
        base &= _16_BIT_BASE
    if not is_canonical(base):
        exits.events.raise_exception(vcpu, GENERAL_PROTECTION)
        return
    vcpu.set_raw_segment(IDTR if instruction.extension & 7 == _LIDT else GDTR, 0, base, limit, 0)
    vcpu.skip(instruction.length)


def load_local_table(exits: ExitContext, vcpu: AmdvVcpu) -> None:
    """LLDT."""
    instruction = current_instruction(exits, vcpu)
    try:
        selector = _selector(exits, vcpu, instruction)
        if selector & ~_SELECTOR_RPL:
            found = _descriptor(exits, vcpu, selector, frozenset({_TYPE_LDT}))
            vcpu.set_raw_segment(LDTR, selector, found.base, found.limit, found.flags)
        else:
            vcpu.set_raw_segment(LDTR, selector, 0, 0, 0)
    except _Invalid as invalid:
        _refuse(exits, vcpu, invalid)
    else:
        assert instruction is not None
        vcpu.skip(instruction.length)


def load_task_register(exits: ExitContext, vcpu: AmdvVcpu) -> None:
    """LTR, which marks the task as busy."""
    instruction = current_instruction(exits, vcpu)
    try:
        selector = _selector(exits, vcpu, instruction)
        if not selector & ~_SELECTOR_RPL:
            raise _Invalid(GENERAL_PROTECTION)
        types = frozenset({_TYPE_TSS} if vcpu.long_mode else {_TYPE_TSS, _TYPE_TSS_16})
        found = _descriptor(exits, vcpu, selector, types)
        if not exits.store(vcpu, found.address + 4, (found.flags | _BUSY).to_bytes(4, "little")):
            raise _Invalid(None)
    except _Invalid as invalid:
        _refuse(exits, vcpu, invalid)
    else:
        vcpu.set_raw_segment(TR, selector, found.base, found.limit, found.flags)
        assert instruction is not None
        vcpu.skip(instruction.length)


def _refuse(exits: ExitContext, vcpu: AmdvVcpu, invalid: _Invalid) -> None:
    if invalid.exception is not None:
        exits.events.raise_exception(vcpu, invalid.exception)


def _selector(exits: ExitContext, vcpu: AmdvVcpu, instruction: Instruction | None) -> int:
    if instruction is None:
        raise _Invalid(INVALID_OPCODE)
    if instruction.operand.register is not None:
        return vcpu.quads[instruction.operand.register] & 0xFFFF
    loaded = exits.load(vcpu, instruction.operand.linear, 2)
    if loaded is None:
        raise _Invalid(None)
    return int.from_bytes(loaded, "little")


def _descriptor(exits: ExitContext, vcpu: AmdvVcpu, selector: int, types: frozenset[int]) -> _Descriptor:
    """The system descriptor that `selector` names in the GDT, of one of `types`."""
    error_code = selector & ~_SELECTOR_RPL
    refusal = GuestException(GENERAL_PROTECTION_VECTOR, error_code)
    size = 16 if vcpu.long_mode else 8
    _, table, table_limit, _ = vcpu.raw_segment(GDTR)
    offset = selector & ~(_SELECTOR_TABLE | _SELECTOR_RPL)
    if selector & _SELECTOR_TABLE or offset + size - 1 > table_limit:
        raise _Invalid(refusal)
    loaded = exits.load(vcpu, table + offset, size)
    if loaded is None:
        raise _Invalid(None)
    first, flags, high, highest = (int.from_bytes(loaded[i : i + 4], "little") for i in range(0, 16, 4))
    base = high << 32 | flags & 0xFF00_0000 | (flags & 0xFF) << 16 | first >> 16
    if flags & _TYPE not in types or highest & _TYPE or not is_canonical(base):
        raise _Invalid(refusal)
    if not flags & _PRESENT:
        raise _Invalid(GuestException(SEGMENT_NOT_PRESENT, error_code))
    limit = flags & 0xF_0000 | first & 0xFFFF
    return _Descriptor(table + offset, base, limit << 12 | 0xFFF if flags & _GRANULARITY else limit, flags)
