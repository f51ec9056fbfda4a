"""Unicorn's emulated AMD-V, reduced to this: make one memory access in a given state and see what becomes of it."""

import contextlib
import struct
from array import array
from typing import Final

from kev.addressing import GIB, MIB, Gpa, Gva, Hpa
from kev.engine.amdv import layout
from kev.engine.amdv.libunicorn import GENERAL_REGISTERS, REG_CR4, Context, EmulatedCpu, EmulationError
from kev.engine.amdv.tlb_fills import TlbFills
from kev.exits import GENERAL_PROTECTION, Access, GuestException
from kev.host_memory import HostMemory
from kev.page_tables.npt import NptFormat
from kev.page_tables.table import PageTable
from tests.page_tables.guest_memory import LONG_MODE, PAE, Registers

CODE: Final = 0x100000
"""Where the instruction that makes the access lies; its page must be mapped there, one to one."""
TARGETS: Final = range(16 * MIB, 32 * MIB)
"""Memory for accesses to go to: every 64-bit word holds its own address."""

_VMCB, _SAVE_AREA, _STUB, _MSR_PERMISSIONS = (GIB - MIB + page * 0x1000 for page in range(4))
_EFER, _SAVE_AREA_MSR = 0xC0000080, 0xC0010117
_EFER_SVME, _EFER_NXE = 1 << 12, 1 << 11
_CR0_ALWAYS = 1 << 5 | 1 << 4  # NE and ET
_RFLAGS_AC = 1 << 18
_PAGE_FAULT, _GENERAL_PROTECTION, _VMMCALL_EXIT = 14, 13, 0x181
_LEAVE = bytes.fromhex("0f01d9ebfe")  # vmmcall, and a jump, so that nothing beyond is translated
_WRITTEN = 0x5A
_CR2 = (layout.CONTROL_REGISTERS >> 3) + 2
_RAX, _RBX = GENERAL_REGISTERS[0], GENERAL_REGISTERS[3]
_MORE_THAN_ENOUGH = 8  # instructions, VMRUN among them
_INSTRUCTIONS = {
    Access.READ: bytes.fromhex("8b03"),  # mov eax, [rbx]
    Access.WRITE: bytes.fromhex("c6035a"),  # mov byte [rbx], 0x5a
    Access.EXECUTE: bytes.fromhex("ffe3"),  # jmp rbx
}


class Cpu:
    """A CPU whose guest-physical memory is `memory`, one to one."""

    def __init__(self, *, native: bool = False) -> None:
        """Its TLB is filled by the CPU's own function, or by this project's, where that is compiled."""
        self.memory = HostMemory(GIB)
        self._nested = PageTable(self.memory, NptFormat())
        self._nested.map_range(Gpa(0), Hpa(0), GIB)
        self.memory.words[TARGETS.start >> 3 : TARGETS.stop >> 3] = memoryview(array("Q", range(TARGETS.start, TARGETS.stop, 8)))
        self.memory.view[_STUB : _STUB + 3] = bytes.fromhex("0f01d8")  # vmrun
        self._interrupts: list[int] = []
        self._uc = self._new_uc()
        self._state = layout.locate(self._uc)
        self._uc.write_msr(_EFER, LONG_MODE | _EFER_NXE | _EFER_SVME)
        self._uc.write_msr(_SAVE_AREA_MSR, _SAVE_AREA)
        self._uc.write_register(REG_CR4, PAE)
        self._host = Context(self._uc)
        self._fills = TlbFills(self._state, self.memory)
        self.twin: Final = Cpu() if native else None
        """One that fills its TLB itself."""
        if native:
            self._fills.start()

    def access(
        self, registers: Registers, gva: int, access: Access, user: bool, alignment_check: bool, expected: int | None
    ) -> int | GuestException:
        """Makes one access: the guest-physical address that it reached, or the exception.

        `expected` is where the access should arrive, if anywhere: a write and a fetch are only noticed there.
        """
        instruction = _INSTRUCTIONS[access] + _LEAVE
        self.memory.view[CODE : CODE + len(instruction)] = instruction
        if expected is not None and access is Access.EXECUTE:
            self.memory.view[expected : expected + len(_LEAVE)] = _LEAVE
        self._write_vmcb(registers, user, alignment_check)
        outcome = self._outcome(self._run(gva), access, expected)
        if expected is not None:
            self.memory.words[expected >> 3] = expected
        return outcome

    def _new_uc(self) -> EmulatedCpu:
        uc = EmulatedCpu()
        uc.map_memory(0, self.memory.size, self.memory.address)
        uc.on_interrupt(self._on_interrupt)
        return uc

    def _on_interrupt(self, _uc: int, number: int, _data: object) -> None:
        self._interrupts.append(number)
        self._uc.stop()

    def _write_vmcb(self, registers: Registers, user: bool, alignment_check: bool) -> None:
        """AMD64 APM vol. 2, appendix B."""
        privilege = 3 if user else 0
        self.memory.view[_VMCB : _VMCB + 0x1000] = bytes(0x1000)
        self._pack(0x10, "I", 1 | 2)  # intercept VMRUN, which must be, and VMMCALL
        self._pack(0x48, "Q", _MSR_PERMISSIONS)
        self._pack(0x58, "I", 1)  # ASID
        self._pack(0x90, "Q", 1)  # nested paging
        self._pack(0xB0, "Q", self._nested.root)
        for segment in (0x400, 0x420, 0x430, 0x440, 0x450):
            self._pack(segment, "HHIQ", 0x18 | privilege, 0xC93 | privilege << 5, 0xFFFFFFFF, 0)
        code_size = 0xA9B if registers.efer & LONG_MODE else 0xC9B
        self._pack(0x410, "HHIQ", 0x10 | privilege, code_size | privilege << 5, 0xFFFFFFFF, 0)
        self._pack(0x4CB, "B", privilege)
        self._pack(0x4D0, "Q", registers.efer | _EFER_SVME)
        self._pack(0x548, "QQQ", registers.cr4, registers.cr3, registers.cr0 | _CR0_ALWAYS)
        self._pack(0x560, "QQQQ", 0x400, 0xFFFF0FF0, 2 | (_RFLAGS_AC if alignment_check else 0), CODE)

    def _pack(self, offset: int, format: str, *values: int) -> None:
        struct.pack_into("<" + format, self.memory.view, _VMCB + offset, *values)

    def _run(self, gva: int) -> int:
        """Enters the guest with `gva` in RBX; says what it left with."""
        self._uc.restore(self._host)
        self._uc.flush_code()
        self._uc.flush_tlb()
        self._uc.write_register(_RAX, _VMCB)
        self._uc.write_register(_RBX, gva)
        self._interrupts.clear()
        with contextlib.suppress(EmulationError):
            self._uc.run(_STUB, _MORE_THAN_ENOUGH)
        return self._interrupts[0]

    def _outcome(self, interrupt: int, access: Access, expected: int | None) -> int | GuestException:
        if interrupt == _PAGE_FAULT:
            error_code = self._state.words[layout.ERROR_CODE >> 2]
            return GuestException(_PAGE_FAULT, error_code, Gva(self._state.quads[_CR2]))
        if interrupt == _GENERAL_PROTECTION:
            return GENERAL_PROTECTION
        assert interrupt == _VMMCALL_EXIT
        if access is Access.READ:
            return self._uc.read_register(_RAX)
        assert expected is not None
        return expected if access is Access.EXECUTE or self.memory.view[expected] == _WRITTEN else -1
