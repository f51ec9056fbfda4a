"""What an instruction does to the order of accesses: locked ones, fences, and those that wait or let interrupts in.

Encodings: Intel SDM vol. 2, chapter 2 and the pages of the instructions.
"""

from enum import Enum
from typing import Final

from kev.addressing import PAGE_SIZE, Gpa, page_offset
from kev.engine.base import VcpuState
from kev.machine.vm import Vm

_LOCK: Final = 0xF0
_PREFIXES: Final = frozenset({_LOCK, 0xF2, 0xF3, 0x2E, 0x36, 0x3E, 0x26, 0x64, 0x65, 0x66, 0x67})
_REX: Final = range(0x40, 0x50)
_EXCHANGE: Final = (0x86, 0x87)
_REPEAT: Final = 0xF3
_REGISTER: Final = 3
"""The mod field of an operand that is not in memory."""
_LOAD_TABLE: Final = (2, 3)
"""In group 6, behind 0F 00: LLDT and LTR."""
_LOAD_TABLE_OR_FORGET: Final = (2, 3, 7)
"""In group 7, behind 0F 01, of memory: LGDT, LIDT and INVLPG."""


class Effect(Enum):
    """What distinguishes an instruction from an ordinary one."""

    NONE = "none"
    LOCKED = "locked"
    """It reads and writes memory at once, behind all accesses before it and before all behind it: LOCK, or XCHG with memory."""
    FENCE = "fence"
    """Stores before it are visible before it is over: MFENCE, IRET, and what else serializes (Intel SDM vol. 3, "Serializing
    instructions") without leaving the guest."""
    PAUSE = "pause"
    HALT = "halt"
    ENABLE = "enable"
    """It may let interrupts in: STI, POPF."""


def effect_of(code: bytes) -> Effect:
    """The effect of the instruction whose bytes are `code`, in 64-bit mode; in others, prefixes 0x40 to 0x4F are INC and DEC."""
    position = 0
    prefixes = set()
    while position < len(code) and (code[position] in _PREFIXES or code[position] in _REX):
        prefixes.add(code[position])
        position += 1
    opcode, operands = code[position : position + 1], code[position + 1 :]
    if _LOCK in prefixes or (opcode and opcode[0] in _EXCHANGE and operands and operands[0] >> 6 != _REGISTER):
        return Effect.LOCKED
    if opcode == b"\x90" and _REPEAT in prefixes:
        return Effect.PAUSE
    if opcode == b"\x0f" and _is_fence(operands):
        return Effect.FENCE
    return {b"\xf4": Effect.HALT, b"\xfb": Effect.ENABLE, b"\x9d": Effect.ENABLE, b"\xcf": Effect.FENCE}.get(opcode, Effect.NONE)


def _is_fence(operands: bytes) -> bool:
    """Behind 0F: MFENCE, INVD, WBINVD, MOV to a control or debug register, INVLPG, LGDT, LIDT, LLDT, LTR."""
    if operands[:2] == b"\xae\xf0" or operands[:1] in (b"\x08", b"\x09", b"\x22", b"\x23"):
        return True
    group, operand = operands[:1], operands[1] if len(operands) > 1 else 0
    extension, is_register = operand >> 3 & 7, operand >> 6 == _REGISTER
    return (group == b"\x00" and extension in _LOAD_TABLE) or (
        group == b"\x01" and extension in _LOAD_TABLE_OR_FORGET and not is_register
    )


class Instructions:
    """Effects of the instructions of one machine. What is at an address of an address space is looked at once."""

    def __init__(self, vm: Vm) -> None:
        self._vm: Final = vm
        self._effects: Final[dict[tuple[int, int, int], Effect]] = {}

    def effect(self, state: VcpuState, address: int, size: int) -> Effect:
        """Of the instruction of `size` bytes at a linear address, which `state` is about to execute."""
        key = state.cr3, address, size
        effect = self._effects.get(key)
        if effect is None:
            effect = self._effects[key] = effect_of(self._read(state, address, size))
        return effect

    def _read(self, state: VcpuState, address: int, size: int) -> bytes:
        code = b""
        while size > 0:
            part = min(size, PAGE_SIZE - page_offset(address))
            gpa = self._vm.engine.translate(state, address)
            hpa = None if gpa is None else self._vm.pager.gpa2hpa(Gpa(gpa))
            if hpa is None:
                break
            code += self._vm.pager.memory.view[hpa : hpa + part]
            address, size = address + part, size - part
        return code
