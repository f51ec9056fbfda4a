"""Near branches to addresses that are not canonical, which raise #GP on the branch (Intel SDM vol. 2, "JMP", "RET").

The emulated CPU has gone there when it finds out. Where it has looked the address up from translated code, the host's stack says
which. Else the branch is looked for among the ends of the blocks that it has translated: it is taken back if there is exactly one
jump that leads from the registers as they are to where RIP is. Returns are not: too many would do.
"""

from collections.abc import Callable, Iterable
from typing import Final

from kev.addressing import PAGE_SIZE, page_floor
from kev.engine.amdv import layout
from kev.engine.amdv.decode import (
    GROUP_5,
    LONGEST_INSTRUCTION,
    Operand,
    UndecodableInstruction,
    indirect_branch,
    near_return,
)
from kev.engine.amdv.linear import LinearMemory
from kev.engine.amdv.vcpu import AmdvVcpu

_CALL: Final = 2
_WORD: Final = 8
_SHORTEST: Final = 2
_FLAGS_ARE: Final = layout.CC_OP >> 2
_MASK64: Final = 0xFFFF_FFFF_FFFF_FFFF


class LostJumps:
    """Finds the branch that a vCPU has come from."""

    __slots__ = ("_blocks", "_linear", "_return_to_branch")

    def __init__(
        self, linear: LinearMemory, blocks: Callable[[], Iterable[tuple[int, int]]], return_to_branch: Callable[[], bool]
    ) -> None:
        """`blocks` says of every translated block its linear address and its size in bytes.

        `return_to_branch` puts RIP back to the branch, if the CPU knows it; it may change of what the flags are computed.
        """
        self._linear: Final = linear
        self._blocks: Final = blocks
        self._return_to_branch: Final = return_to_branch

    def take_back(self, vcpu: AmdvVcpu) -> int:
        """Puts RIP and RSP of a vCPU in 64-bit mode before the branch that led it to RIP, if that can be told.

        Returns the number of blocks that were looked at, in about a microsecond each.
        """
        target, rsp, flags_are = vcpu.rip, vcpu.rsp, vcpu.words[_FLAGS_ARE]
        known = self._return_to_branch()
        vcpu.words[_FLAGS_ARE] = flags_are
        if known:
            rip = vcpu.rip
            code = self._linear.peek(vcpu, rip, LONGEST_INSTRUCTION)
            before = self._before_jump(vcpu, rip, code, target, rsp) or self._before_return(vcpu, rip, code, target, rsp)
            vcpu.rip, vcpu.rsp = before or (target, rsp)
            return 0
        return self._search(vcpu, target, rsp)

    def _search(self, vcpu: AmdvVcpu, target: int, rsp: int) -> int:
        pages: dict[int, bytes] = {}
        found = {}
        blocks = set(self._blocks())
        for address, size in blocks:
            code = self._code(vcpu, pages, address + max(size - LONGEST_INSTRUCTION, 0), min(size, LONGEST_INSTRUCTION))
            if GROUP_5 not in code:
                continue
            for length in range(len(code), _SHORTEST - 1, -1):
                before = self._before_jump(vcpu, address + size - length, code[-length:], target, rsp, length)
                if before is not None:
                    found[address + size] = before
                    break
        vcpu.rip, vcpu.rsp = next(iter(found.values())) if len(found) == 1 else (target, rsp)
        return len(blocks)

    def _code(self, vcpu: AmdvVcpu, pages: dict[int, bytes], address: int, length: int) -> bytes:
        """As `LinearMemory.peek`, for many places in few pages."""
        code = b""
        while length > 0:
            page = page_floor(address)
            if page not in pages:
                pages[page] = self._linear.peek(vcpu, page, PAGE_SIZE)
            part = pages[page][address - page : address - page + length]
            if not part:
                return b""
            code += part
            address += len(part)
            length -= len(part)
        return code

    def _before_jump(
        self, vcpu: AmdvVcpu, rip: int, code: bytes, target: int, rsp: int, of_length: int | None = None
    ) -> tuple[int, int] | None:
        """RIP and RSP before the JMP or CALL that `code` begins with, if it leads to `target`; of so many bytes, if said."""
        vcpu.rip, vcpu.rsp = rip, rsp
        try:
            length, extension, operand = indirect_branch(vcpu, code)
            if of_length not in (None, length):
                return None
            if extension == _CALL:
                if int.from_bytes(self._linear.peek(vcpu, rsp, _WORD), "little") != rip + length:
                    return None
                vcpu.rsp = rsp + _WORD
                _, _, operand = indirect_branch(vcpu, code)
        except UndecodableInstruction:
            return None
        return (rip, vcpu.rsp) if self._leads_to(vcpu, operand, target) else None

    def _before_return(self, vcpu: AmdvVcpu, rip: int, code: bytes, target: int, rsp: int) -> tuple[int, int] | None:
        """The same for RET."""
        try:
            stack = rsp - _WORD - near_return(code) & _MASK64
        except UndecodableInstruction:
            return None
        return (rip, stack) if self._leads_to(vcpu, Operand(None, stack), target) else None

    def _leads_to(self, vcpu: AmdvVcpu, operand: Operand, target: int) -> bool:
        """A device that holds the operand is not asked a second time, but believed."""
        if operand.register is not None:
            return vcpu.quads[operand.register] == target
        word = self._linear.peek(vcpu, operand.linear, _WORD)
        if word:
            return int.from_bytes(word, "little") == target
        gpa = self._linear.look_up(vcpu, operand.linear)
        return gpa is not None and self._linear.is_device(gpa)
