"""Where Unicorn 2.1 keeps what it has translated, in this process."""

import ctypes
import os
import sys
from collections.abc import Iterable
from typing import Final

from kev.engine.amdv import libunicorn

# Offsets into uc_struct and CPUState.
TRANSLATOR_OF_UC: Final = 768
LAST_OF_UC: Final = 14848
UC_OF_CPU: Final = 33192
# Of TranslationBlock.
_LENGTHS_OF_BLOCK: Final = 20
_CODE_OF_BLOCK: Final = 32
_VMRUN_LENGTHS: Final = 3 | 1 << 16
"""3 bytes, and one instruction."""


def quad(address: int) -> int:
    return ctypes.c_uint64.from_address(address).value


def half(address: int) -> int:
    return ctypes.c_uint32.from_address(address).value


def are_found(uc: int, cpu: int, vmrun: int) -> bool:
    """Whether they are where they are expected. The CPU has just executed the VMRUN at this address, and nothing behind it."""
    if not libunicorn.FINDS_BLOCKS or quad(cpu + UC_OF_CPU) != uc:
        return False
    block = quad(uc + LAST_OF_UC)
    if not block or quad(block) != vmrun or half(block + _LENGTHS_OF_BLOCK) != _VMRUN_LENGTHS:
        return False
    return libunicorn.find_block(quad(uc + TRANSLATOR_OF_UC), quad(block + _CODE_OF_BLOCK)) == block


def all_blocks(uc: int) -> list[tuple[int, int]]:
    """The linear address and the size in bytes of every block of instructions that has a translation. Only if they `are_found`."""
    return [(quad(block), half(block + _LENGTHS_OF_BLOCK) & 0xFFFF) for block in libunicorn.all_blocks(quad(uc + TRANSLATOR_OF_UC))]


_JUMP_TO_LOOKED_UP: Final = b"\xff\xe0" if sys.platform == "linux" and os.uname().machine == "x86_64" else None
"""JMP RAX, by which translated code goes to the block that it has just had looked up."""
FINDS_BRANCHES: Final = libunicorn.FINDS_BLOCKS and libunicorn.RESTORES_RIP and _JUMP_TO_LOOKED_UP is not None
"""`return_to_branch` may find one."""


def return_to_branch(uc: int, cpu: int, stack: Iterable[int]) -> bool:
    """Puts RIP back to the branch executed last, if where it leads to was looked up when this was the host's `stack`.

    Only if blocks `are_found`, and in the same exit. It also changes of what the arithmetic flags are computed.
    """
    if not FINDS_BRANCHES:
        return False
    assert _JUMP_TO_LOOKED_UP is not None
    translator = quad(uc + TRANSLATOR_OF_UC)
    for word in stack:
        if (
            libunicorn.find_block(translator, word) is not None
            and ctypes.string_at(word, len(_JUMP_TO_LOOKED_UP)) == _JUMP_TO_LOOKED_UP
        ):
            libunicorn.restore_rip(cpu, word)
            return True
    return False
