"""Near jumps to addresses that are not canonical, which raise #GP on the jump (Intel SDM vol. 2, "JMP").

The emulated CPU has jumped when it finds out. The jump is looked for among the ends of the blocks that it has translated: it is
taken back if there is exactly one that leads from the registers as they are to where RIP is. Returns are not: too many would do.
"""

from collections.abc import Callable, Iterable
from typing import Final

from kev.addressing import PAGE_SIZE, page_floor
from kev.engine.amdv.decode import GROUP_5, LONGEST_INSTRUCTION, Operand, UndecodableInstruction, indirect_branch
from kev.engine.amdv.linear import LinearMemory
from kev.engine.amdv.vcpu import AmdvVcpu

_CALL: Final = 2
_WORD: Final = 8
_SHORTEST: Final = 2


class LostJumps:
    """Finds the jump that a vCPU has come from."""

    __slots__ = ("_blocks", "_linear")

    def __init__(self, linear: LinearMemory, blocks: Callable[[], Iterable[tuple[int, int]]]) -> None:
        """`blocks` says of every translated block its linear address and its size in bytes."""
        self._linear: Final = linear
        self._blocks: Final = blocks

    def take_back(self, vcpu: AmdvVcpu) -> int:
        """Puts RIP and RSP of a vCPU in 64-bit mode before the jump that led it to RIP, if that can be told.

        Returns the number of blocks that were looked at, in about a microsecond each.
        """
        target, rsp = vcpu.rip, vcpu.rsp
        pages: dict[int, bytes] = {}
        found = {}
        blocks = set(self._blocks())
        for address, size in blocks:
            code = self._code(vcpu, pages, address + max(size - LONGEST_INSTRUCTION, 0), min(size, LONGEST_INSTRUCTION))
            if GROUP_5 not in code:
                continue
            for length in range(len(code), _SHORTEST - 1, -1):
                before = self._before(vcpu, address + size - length, code[-length:], target, rsp)
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

    def _before(self, vcpu: AmdvVcpu, rip: int, code: bytes, target: int, rsp: int) -> tuple[int, int] | None:
        """RIP and RSP before the branch that `code` is, if it leads to `target`."""
        vcpu.rip, vcpu.rsp = rip, rsp
        try:
            length, extension, operand = indirect_branch(vcpu, code)
            if length != len(code):
                return None
            if extension == _CALL:
                if int.from_bytes(self._linear.peek(vcpu, rsp, _WORD), "little") != rip + length:
                    return None
                vcpu.rsp = rsp + _WORD
                _, _, operand = indirect_branch(vcpu, code)
        except UndecodableInstruction:
            return None
        return (rip, vcpu.rsp) if self._leads_to(vcpu, operand, target) else None

    def _leads_to(self, vcpu: AmdvVcpu, operand: Operand, target: int) -> bool:
        """A device that holds the operand is not asked a second time, but believed."""
        if operand.register is not None:
            return vcpu.quads[operand.register] == target
        word = self._linear.peek(vcpu, operand.linear, _WORD)
        if word:
            return int.from_bytes(word, "little") == target
        gpa = self._linear.look_up(vcpu, operand.linear)
        return gpa is not None and self._linear.is_device(gpa)
