"""Many iterations of REP INS or OUTS in one exit.

The CPU makes the first of them: when it asks for the value, it has already found that it may store there, and the address is its
own. The others, in the same page, are made here: memory is read or written, and RCX and RDI or RSI are set to where the last one
finds them. So the CPU goes on behind the last one.

Counted slices, and guests that step or have breakpoints, take one exit for each iteration.
"""

from typing import Final

from kev.addressing import PAGE_SIZE, page_offset
from kev.engine.amdv import layout
from kev.engine.amdv.decode import LONGEST_INSTRUCTION, PortString, repeated_port_string
from kev.engine.amdv.linear import LinearMemory
from kev.engine.amdv.translated_code import TranslatedCode
from kev.engine.amdv.vcpu import FS, GS, AmdvVcpu
from kev.host_memory import HostMemory
from kev.x86 import RFLAGS_TF

_RCX: Final = (layout.GENERAL_REGISTERS >> 3) + 1
_RDX: Final = (layout.GENERAL_REGISTERS >> 3) + 2
_RSI: Final = (layout.GENERAL_REGISTERS >> 3) + 6
_RDI: Final = (layout.GENERAL_REGISTERS >> 3) + 7
_INS, _OUTS = 0x6C, 0x6E
_MASK16: Final = 0xFFFF
_MASK32: Final = 0xFFFF_FFFF
_MASK64: Final = 0xFFFF_FFFF_FFFF_FFFF


class Block:
    """The iterations that can be made at once, from the one that the CPU is at."""

    __slots__ = ("_bytes", "_code", "_hpa", "_index", "_mask", "_vcpu", "length", "size")

    def __init__(
        self, memory: memoryview, code: TranslatedCode, vcpu: AmdvVcpu, index: int, mask: int, hpa: int, size: int, length: int
    ) -> None:
        self.size: Final = size
        """Bytes of each."""
        self.length: Final = length
        """Bytes of all."""
        self._code: Final = code
        self._vcpu: Final = vcpu
        self._index: Final = index
        """Of RSI or RDI in the CPU state."""
        self._mask: Final = mask
        self._hpa: Final = hpa
        self._bytes: Final = memory[hpa : hpa + length]

    def load(self) -> int:
        """What OUTS sends. All iterations but one are done."""
        self._go_on()
        return int.from_bytes(self._bytes, "little")

    def store(self, value: int) -> int:
        """Stores what INS gets, and returns what the CPU has to store itself. All iterations but one are done."""
        self._bytes[:] = value.to_bytes(self.length, "little")
        self._code.replaced(self._hpa)
        self._go_on()
        return value & (1 << 8 * self.size) - 1

    def _go_on(self) -> None:
        quads, others = self._vcpu.quads, self.length // self.size - 1
        quads[self._index] = self._written(quads[self._index], others * self.size)
        quads[_RCX] = self._written(quads[_RCX], -others)

    def _written(self, register: int, change: int) -> int:
        """A register as an instruction with these addresses leaves it. One of 16 bits leaves the rest as it was."""
        kept = register & ~_MASK16 if self._mask == _MASK16 else 0
        return kept | register + change & self._mask


class PortBlocks:
    """Finds what can be made at once."""

    __slots__ = ("_code", "_linear", "_memory", "_single")

    def __init__(self, memory: HostMemory, linear: LinearMemory, code: TranslatedCode) -> None:
        self._memory: Final = memory
        self._code: Final = code
        self._linear: Final = linear
        self._single: int | None = None
        """Where the last instruction was that accesses a port once."""

    def find(self, vcpu: AmdvVcpu, port: int, size: int, length: int, *, stores: bool) -> Block | None:
        """At the access that the CPU makes for IN, OUT, INS or OUTS; None if it is the only one.

        `length`: the most bytes that the device takes. `stores`: the instruction is IN or INS.
        """
        most = length // size
        quads = vcpu.quads
        if most < 2 or quads[_RDX] & 0xFFFF != port:
            return None
        found = self._repeated(vcpu, _INS if stores else _OUTS, size)
        if found is None:
            return None
        mask = (1 << 8 * found.address_size) - 1
        index = _RDI if stores else _RSI
        offset = quads[index] & mask
        gva = _linear(vcpu, found.segment, offset)
        iterations = min(quads[_RCX] & mask, most, (PAGE_SIZE - page_offset(gva)) // size, (mask + 1 - offset) // size)
        frame = self._linear.frame(vcpu, gva) if iterations > 1 else None
        if frame is None:
            return None
        hpa = frame | page_offset(gva)
        return Block(self._memory.view, self._code, vcpu, index, mask, hpa, size, size * iterations)

    def _repeated(self, vcpu: AmdvVcpu, instruction: int, size: int) -> PortString | None:
        """It executes INS or OUTS of this size, upwards, and nobody has to be told of every iteration."""
        words = vcpu.words
        if words[layout.DF >> 2] != 1 or words[layout.RFLAGS >> 2] & RFLAGS_TF or vcpu.breakpoints_armed:
            return None
        address = vcpu.instruction_address
        if address == self._single:
            return None
        found = repeated_port_string(vcpu, self._linear.peek(vcpu, address, LONGEST_INSTRUCTION))
        if found is None:
            self._single = address
            return None
        return found if (found.opcode, found.operand_size) == (instruction, size) else None


def _linear(vcpu: AmdvVcpu, segment: int, offset: int) -> int:
    if not vcpu.in_64_bit_mode:
        return vcpu.raw_segment(segment)[1] + offset & _MASK32
    return vcpu.raw_segment(segment)[1] + offset & _MASK64 if segment in (FS, GS) else offset
