"""Guest memory by linear address, as the CPU would reach it: through the guest's tables and the nested ones."""

from collections.abc import Callable
from typing import Final

from kev.addressing import PAGE_SIZE, Gpa, page_offset
from kev.engine.amdv.vcpu import IDTR, SS, AmdvVcpu
from kev.exits import Access, EptViolation, Exit, Reply
from kev.memory import HostMemory
from kev.paging.guest import GuestFault, translate
from kev.paging.table import PageTable

_SS_DEFAULT_SIZE_32: Final = 1 << 22  # the B flag, in a descriptor's second word
_GATE_16_BIT: Final = frozenset({6, 7})  # types of 286 interrupt and trap gates


class AwaitedPage(Exception):
    """A page on the way has to be awaited."""

    def __init__(self, violation: EptViolation) -> None:
        super().__init__(str(violation))
        self.violation = violation


class LinearMemory:
    """What the hypervisor itself reads and writes by linear address: instructions, gates, error codes."""

    __slots__ = ("_ask", "_memory", "_table")

    def __init__(self, memory: HostMemory, table: PageTable, ask: Callable[[Exit], Reply | None]) -> None:
        """`ask` is told of pages that are not mapped, as the CPU would tell."""
        self._memory = memory
        self._table = table
        self._ask = ask

    def look_up(self, vcpu: AmdvVcpu, gva: int) -> Gpa | None:
        """The guest-physical address behind `gva`, permissions aside; None if the guest maps nothing there."""
        try:
            return translate(self._read_entry, vcpu, gva)
        except GuestFault:
            return None

    def peek(self, vcpu: AmdvVcpu, gva: int, length: int) -> bytes:
        """Bytes at `gva`; fewer, or none, where they cannot be had at once."""
        found = b""
        try:
            while len(found) < length:
                address = gva + len(found)
                size = min(length - len(found), PAGE_SIZE - page_offset(address))
                hpa = self._locate(translate(self._read_entry, vcpu, address), Access.READ)
                found += self._memory.view[hpa : hpa + size]
        except (GuestFault, AwaitedPage):
            pass
        return found

    def gate_privilege_level(self, vcpu: AmdvVcpu, vector: int) -> int | None:
        """The DPL of a vector's gate in the IDT; None in real mode, or if there is no such gate."""
        gate = self._gate(vcpu, vector)
        return None if gate is None else gate[5] >> 5 & 3

    def push(self, vcpu: AmdvVcpu, vector: int, error_code: int) -> None:
        """Pushes an error code onto the stack of the handler that is about to run.

        GuestFault if the guest's tables do not allow it, AwaitedPage if the stack's page has to be awaited. Nothing has
        changed then.
        """
        width = self._frame_width(vcpu, vector)
        _, base, _, flags = vcpu.raw_segment(SS)
        if vcpu.long_mode:
            base, mask = 0, 0xFFFF_FFFF_FFFF_FFFF
        else:
            mask = 0xFFFF_FFFF if flags & _SS_DEFAULT_SIZE_32 else 0xFFFF
        stack_pointer = vcpu.rsp - width & mask
        self.write(vcpu, base + stack_pointer, error_code.to_bytes(width, "little"))
        vcpu.rsp = vcpu.rsp & ~mask | stack_pointer

    def _gate(self, vcpu: AmdvVcpu, vector: int) -> bytes | None:
        size = 16 if vcpu.long_mode else 8
        _, base, limit, _ = vcpu.raw_segment(IDTR)
        if not vcpu.protected_mode or (vector + 1) * size - 1 > limit:
            return None
        gate = self.peek(vcpu, base + vector * size, 8)
        return gate if len(gate) == 8 else None

    def _frame_width(self, vcpu: AmdvVcpu, vector: int) -> int:
        """The size of a stack slot in the frame of this vector's gate, in bytes."""
        if vcpu.long_mode:
            return 8
        gate = self._gate(vcpu, vector)
        return 2 if gate is not None and gate[5] & 0xF in _GATE_16_BIT else 4

    def write(self, vcpu: AmdvVcpu, gva: int, data: bytes) -> None:
        """Writes at `gva` as the kernel would; GuestFault or AwaitedPage before anything changes."""
        places = [self._locate(translate(self._read_entry, vcpu, gva + i, Access.WRITE), Access.WRITE) for i in range(len(data))]
        for place, byte in zip(places, data, strict=True):
            self._memory.view[place] = byte

    def _read_entry(self, gpa: int, size: int) -> int:
        hpa = self._locate(gpa, Access.READ)
        return int.from_bytes(self._memory.view[hpa : hpa + size], "little")

    def _locate(self, gpa: int, access: Access) -> int:
        hpa = self._table.translate(gpa, access)
        if hpa is None:
            violation = EptViolation(Gpa(gpa), access)
            if self._ask(violation) is None:
                raise AwaitedPage(violation)
            hpa = self._table.translate(gpa, access)
        if hpa is None or hpa >= self._memory.size:
            raise AwaitedPage(EptViolation(Gpa(gpa), access))
        return hpa
