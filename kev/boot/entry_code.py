"""Tells 32-bit code from 64-bit code by its first instructions (Intel SDM vol. 2, "Instruction format", and appendix A).

Most instructions are the same in both. What differs: 0x40-0x4f are INC and DEC in one and prefixes in the other, and some opcodes
are none in 64-bit mode.
"""

from typing import Final

from kev.boot.kernel_file import KernelFile
from kev.pager.image import KernelImage

_LOOKED_AT: Final = 256
"""How much is looked at of the code at an entry, in bytes."""
_MOST_INSTRUCTIONS: Final = 24
_EARLY: Final = 6
"""The number of the instruction before which 32-bit code hardly decrements anything."""
_MANY: Final = 3
_MOST_BETWEEN: Final = 4
"""In 64-bit code, at least one of so many instructions has REX.W."""

_ENDBR64: Final = b"\xf3\x0f\x1e\xfa"
_ENDBR32: Final = b"\xf3\x0f\x1e\xfb"
_REX_W: Final = frozenset(b"\x48\x49\x4c\x4d")
"""In 32-bit code, DEC of EAX, ECX, ESP and EBP."""
_NONE_IN_64: Final = frozenset(
    bytes([opcode]) for opcode in b"\x06\x07\x0e\x16\x17\x1e\x1f\x27\x2f\x37\x3f\x60\x61\x9a\xce\xd4\xd5\xea"
)
"""PUSH and POP of segment registers, BCD arithmetic, PUSHA, POPA, far CALL and JMP with an immediate, INTO."""
_PREFIXES: Final = frozenset(b"\x26\x2e\x36\x3e\x64\x65\xf0\xf2\xf3")
_OPERAND_SIZE: Final = 0x66
_TWO_BYTES: Final = 0x0F

_ARITHMETIC: Final = frozenset(row + column for row in range(0, 0x40, 8) for column in range(4))
_PLAIN: Final = frozenset(
    [*range(0x50, 0x60), *range(0x90, 0x9A), 0x9B, 0x9C, 0x9D, *range(0xA4, 0xA8), *range(0xAA, 0xB0), 0xC9, *range(0xEC, 0xF0),
     0xF5, *range(0xF8, 0xFE)]
)  # fmt: skip
"""Without an operand in the instruction: PUSH, POP, NOP, string instructions, flags, IN and OUT by DX."""
_MODRM: Final = _ARITHMETIC | frozenset([0x63, *range(0x84, 0x90), *range(0xD0, 0xD4), *range(0xD8, 0xE0), 0xFE, 0xFF])
_MODRM_BYTE: Final = frozenset([0x6B, 0x80, 0x83, 0xC0, 0xC1, 0xC6])
_MODRM_WORD: Final = frozenset([0x69, 0x81, 0xC7])
_BYTE: Final = frozenset([*range(0x04, 0x40, 8), 0x6A, *range(0x70, 0x80), 0xA8, *range(0xB0, 0xB8), 0xCD, *range(0xE0, 0xE8)])
_WORD: Final = frozenset([*range(0x05, 0x40, 8), 0x68, 0xA9, *range(0xB8, 0xC0), 0xE8])
_MOVES: Final = range(0xB8, 0xC0)
"""MOV of an immediate operand, which has 64 bits with REX.W."""
_JUMP_SHORT: Final = 0xEB
_JUMP_NEAR: Final = 0xE9
_TEST_GROUP: Final = frozenset([0xF6, 0xF7])

_TWO_PLAIN: Final = frozenset([0x06, 0x08, 0x09, 0x0B, 0x30, 0x31, 0x32, 0xA2])
"""CLTS, INVD, WBINVD, UD2, WRMSR, RDTSC, RDMSR, CPUID."""
_TWO_MODRM: Final = frozenset([0x00, 0x01, 0x18, 0x1F, *range(0x20, 0x24), *range(0x40, 0x50), *range(0x90, 0xA0), 0xAE, 0xAF,
                               0xA3, 0xAB, 0xB3, *range(0xB6, 0xB8), *range(0xBB, 0xC0)])  # fmt: skip
_TWO_MODRM_BYTE: Final = frozenset([0xA4, 0xAC, 0xBA])
_TWO_JUMPS: Final = range(0x80, 0x90)
_AFTER_REX: Final = frozenset(
    [*range(0x01, 0x40, 8), *range(0x03, 0x40, 8), 0x63, 0x81, 0x83, 0x85, 0x87, 0x89, 0x8B, 0x8D, 0xA5, 0xAB, *range(0xB8, 0xC0),
     0xC7, 0xF7, 0x0F]
)  # fmt: skip
"""What stands behind REX.W all the time: 64-bit moves and arithmetic."""


def entry_bits(file: KernelFile, image: KernelImage) -> int | None:
    """`code_bits` of the code at the entry of `image`, which is this file's."""
    return code_bits(file.loaded_at(image, image.entry, _LOOKED_AT))


def code_bits(code: bytes) -> int | None:
    """64 or 32: which code this is, as its first instructions have it; None if they could be both."""
    if code.startswith(_ENDBR64):
        return 64
    if code.startswith(_ENDBR32):
        return 32
    offset = 0
    wide: list[int] = []
    for count in range(_MOST_INSTRUCTIONS):
        if _is_none_in_64(code, offset) and not wide:
            return 32
        if _is_wide(code, offset):
            wide.append(count)
        following = _behind(code, offset)
        if following is None or not 0 <= following < len(code):
            return 64 if _is_enough(wide, count + 1) else None
        offset = following
    return 64 if _is_enough(wide, _MOST_INSTRUCTIONS) else None


def _is_enough(wide: list[int], instructions: int) -> bool:
    """Whether it is no accident that the instructions of these numbers, of so many, look like those of 64 bits."""
    is_early = bool(wide) and wide[0] < _EARLY
    return is_early or (len(wide) >= _MANY and _MOST_BETWEEN * len(wide) >= instructions)


def _is_none_in_64(code: bytes, offset: int) -> bool:
    offset, _ = _behind_prefixes(code, offset)
    return code[offset : offset + 1] in _NONE_IN_64


def _is_wide(code: bytes, offset: int) -> bool:
    """Whether what is at `offset` looks like an instruction with REX.W."""
    offset, _ = _behind_prefixes(code, offset)
    return offset + 1 < len(code) and code[offset] in _REX_W and code[offset + 1] in _AFTER_REX


def _behind(code: bytes, offset: int) -> int | None:
    """Where the next instruction is that is executed; None if that cannot be said."""
    offset, word = _behind_prefixes(code, offset)
    if _is_wide(code, offset):
        offset += 1
        word = 8 if code[offset] in _MOVES else word
    if offset + 1 >= len(code):
        return None
    opcode = code[offset]
    if opcode == _TWO_BYTES:
        return _behind_two_bytes(code, offset + 1)
    offset += 1
    if opcode == _JUMP_SHORT:
        return offset + 1 + _signed(code, offset, 1)
    if opcode == _JUMP_NEAR:
        return offset + 4 + _signed(code, offset, 4)
    if opcode in _PLAIN:
        return offset
    if opcode in _BYTE:
        return offset + 1
    if opcode in _WORD:
        return offset + word
    return _behind_operand(code, offset, opcode, word)


def _behind_prefixes(code: bytes, offset: int) -> tuple[int, int]:
    """The offset behind the prefixes at `offset`, and how large an immediate operand is then, in bytes."""
    word = 4
    while offset < len(code) and (code[offset] in _PREFIXES or code[offset] == _OPERAND_SIZE):
        word = 2 if code[offset] == _OPERAND_SIZE else word
        offset += 1
    return offset, word


def _behind_operand(code: bytes, offset: int, opcode: int, word: int) -> int | None:
    """Of an instruction with a ModRM byte, which is at `offset`."""
    end = offset + _operand_length(code, offset)
    if opcode in _MODRM:
        return end
    if opcode in _MODRM_BYTE:
        return end + 1
    if opcode in _MODRM_WORD:
        return end + word
    if opcode in _TEST_GROUP:
        is_test = not code[offset] & 0x30
        return end + (0 if not is_test else 1 if opcode == 0xF6 else word)
    return None


def _behind_two_bytes(code: bytes, offset: int) -> int | None:
    opcode = code[offset]
    offset += 1
    if opcode in _TWO_PLAIN:
        return offset
    if opcode in _TWO_JUMPS:
        return offset + 4
    if offset >= len(code):
        return None
    if opcode in _TWO_MODRM:
        return offset + _operand_length(code, offset)
    return offset + _operand_length(code, offset) + 1 if opcode in _TWO_MODRM_BYTE else None


def _operand_length(code: bytes, offset: int) -> int:
    """Of the ModRM byte at `offset` with what belongs to it: the same in both modes."""
    mode, operand = code[offset] >> 6, code[offset] & 7
    if mode == 3:
        return 1
    length = 1
    base = operand
    if operand == 4:
        length += 1
        base = code[offset + 1] & 7 if offset + 1 < len(code) else 0
    if mode == 0:
        return length + (4 if base == 5 else 0)
    return length + (1 if mode == 1 else 4)


def _signed(code: bytes, offset: int, size: int) -> int:
    return int.from_bytes(code[offset : offset + size], "little", signed=True)
