"""One call of a BIOS service: the registers and the memory of whoever has executed INT."""

from collections.abc import Callable
from typing import Final, Protocol

from kev.addressing import Gva
from kev.dev.base import GuestMemory
from kev.engine.base import VcpuState
from kev.x86 import RFLAGS_CF, RFLAGS_ZF


class CallerMemory(GuestMemory, Protocol):
    """Guest memory, by a vCPU's addresses, too."""

    def read_virtual(self, registers: VcpuState, gva: Gva, length: int) -> bytes: ...

    def write_virtual(self, registers: VcpuState, gva: Gva, data: bytes) -> None: ...


class NotServed(Exception):
    """There is no such function. Says which one, where AH does not."""


_WORD: Final = 0xFFFF
_IP: Final = 0
_CS: Final = 2
_FLAGS: Final = 4


def _half(register: str, shift: int) -> property:
    def read(call: "BiosCall") -> int:
        return int(getattr(call.vcpu, register)) >> shift & 0xFF

    def write(call: "BiosCall", value: int) -> None:
        setattr(call.vcpu, register, getattr(call.vcpu, register) & ~(0xFF << shift) | (value & 0xFF) << shift)

    return property(read, write)


def _word(register: str) -> property:
    def read(call: "BiosCall") -> int:
        return int(getattr(call.vcpu, register)) & _WORD

    def write(call: "BiosCall", value: int) -> None:
        setattr(call.vcpu, register, getattr(call.vcpu, register) & ~_WORD | value & _WORD)

    return property(read, write)


class BiosCall:
    """Registers by their 16-bit and 8-bit names; FLAGS are those that IRET restores."""

    __slots__ = ("_memory", "vcpu", "vector")

    ax, bx, cx, dx = _word("rax"), _word("rbx"), _word("rcx"), _word("rdx")
    si, di, bp, sp = _word("rsi"), _word("rdi"), _word("rbp"), _word("rsp")
    al, bl, cl, dl = _half("rax", 0), _half("rbx", 0), _half("rcx", 0), _half("rdx", 0)
    ah, bh, ch, dh = _half("rax", 8), _half("rbx", 8), _half("rcx", 8), _half("rdx", 8)

    def __init__(self, vcpu: VcpuState, memory: CallerMemory, vector: int) -> None:
        self.vcpu: Final = vcpu
        self.vector: Final = vector
        self._memory: Final = memory

    def read(self, segment: str, offset: int, length: int) -> bytes:
        """The bytes at `segment`:`offset`; the segment register by its name, such as "es"."""
        return self._memory.read_virtual(self.vcpu, self._linear(segment, offset), length)

    def write(self, segment: str, offset: int, data: bytes) -> None:
        self._memory.write_virtual(self.vcpu, self._linear(segment, offset), data)

    def read_at(self, linear: int, length: int) -> bytes:
        return self._memory.read_virtual(self.vcpu, Gva(linear), length)

    def write_at(self, linear: int, data: bytes) -> None:
        self._memory.write_virtual(self.vcpu, Gva(linear), data)

    def point(self, segment: str, register: str, to_segment: int, offset: int) -> None:
        """Makes a segment register and another one point to something, as in ES:DI."""
        self.vcpu.set_segment(segment, self.vcpu.segment(segment)._replace(selector=to_segment, base=to_segment << 4))
        setattr(self, register, offset)

    @property
    def return_address(self) -> tuple[int, int]:
        """CS and IP of the instruction behind INT."""
        return self._stacked(_CS), self._stacked(_IP)

    @property
    def place(self) -> str:
        """Where INT is, for messages."""
        cs, ip = self.return_address
        return f"{cs:04x}:{(ip - 2) & _WORD:04x}"

    @property
    def flags(self) -> int:
        return self._stacked(_FLAGS)

    def set_carry(self, carry: bool) -> None:
        self._set_flag(RFLAGS_CF, carry)

    def set_zero(self, zero: bool) -> None:
        self._set_flag(RFLAGS_ZF, zero)

    def go_to(self, offset: int, vmcall: int) -> None:
        """The ROM goes on at `offset`, instead of behind its VMCALL of so many bytes."""
        self.vcpu.rip = offset - vmcall

    def _set_flag(self, flag: int, value: bool) -> None:
        flags = self.flags
        wanted = flags | flag if value else flags & ~flag
        if wanted != flags:
            self.write("ss", self.sp + _FLAGS, wanted.to_bytes(2, "little"))

    def _stacked(self, offset: int) -> int:
        return int.from_bytes(self.read("ss", self.sp + offset, 2), "little")

    def _linear(self, segment: str, offset: int) -> Gva:
        return Gva(self.vcpu.segment(segment).base + (offset & _WORD))


Service = Callable[[BiosCall], None]
"""Serves one interrupt, or one function of it. NotServed; PageAbsent, and then it is called again when the page is there."""
