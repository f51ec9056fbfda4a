"""Keeps the arithmetic flags right at exits from counted code.

The emulated CPU computes RFLAGS lazily: it keeps the operation that set the flags (CC_OP), its result (CC_DST) and an operand
(CC_SRC). Counted code is instrumented, and computes them at every instruction behind one that sets flags: CC_SRC holds the flags
from then on, and CC_OP says so. But where an instruction exits, the CPU goes back to the CC_OP that was noted when it was
translated, which is the operation's, and takes the flags in CC_SRC for an operand.

Whether CC_SRC is flags or an operand is not written down anywhere. It is told from the result, which is there either way: flags
that agree with it are what the CPU has computed, or an operand that has the same effect in all but the rarest cases.
"""

from typing import Final

from kev.engine.amdv import layout
from kev.x86 import RFLAGS_ARITHMETIC

CC_OP_EFLAGS: Final = 1
"""The flags are in CC_SRC."""

_FIRST_WITH_WIDTH: Final = 2  # from here on there are four of each operation: for 1, 2, 4 and 8 bytes
_LOGIC: Final = range(22, 26)
_LAST_WITH_WIDTH: Final = 45
_SIGN: Final = tuple(1 << bits - 1 for bits in (8, 16, 32, 64))
_MASK: Final = tuple((1 << bits) - 1 for bits in (8, 16, 32, 64))
_PARITY: Final = bytes(4 if value.bit_count() % 2 == 0 else 0 for value in range(256))
_OF_RESULT: Final = 0xC4  # SF, ZF, PF


def settle_flags(quads: memoryview, words: memoryview) -> None:
    """Makes CC_OP agree with what CC_SRC holds, at an exit from counted code."""
    operation = words[layout.CC_OP >> 2]
    if operation == CC_OP_EFLAGS:
        return
    operand = quads[layout.CC_SRC >> 3]
    if _FIRST_WITH_WIDTH <= operation <= _LAST_WITH_WIDTH:
        of_result = _flags_of_result(quads[layout.CC_DST >> 3], operation - _FIRST_WITH_WIDTH & 3)
        if operation in _LOGIC:
            # AND and its like: nothing but the result matters.
            quads[layout.CC_SRC >> 3] = operand = of_result
        if operand & ~RFLAGS_ARITHMETIC or operand & _OF_RESULT != of_result:
            return
    elif operand & ~RFLAGS_ARITHMETIC:
        return
    words[layout.CC_OP >> 2] = CC_OP_EFLAGS


def _flags_of_result(result: int, width: int) -> int:
    """ZF, SF and PF."""
    result &= _MASK[width]
    zero = 0 if result else 0x40
    return zero | (0x80 if result & _SIGN[width] else 0) | _PARITY[result & 0xFF]
