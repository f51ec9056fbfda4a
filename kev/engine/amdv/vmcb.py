"""The virtual machine control block (AMD64 Architecture Programmer's Manual vol. 2, appendix B)."""

import struct
from typing import Final

from kev import x86
from kev.addressing import PAGE_SIZE, Hpa
from kev.engine.base import EntryState
from kev.engine.registers import MSRS, SegmentRegister
from kev.host_memory import HostMemory

# Exit codes (appendix C).
CR0_READ: Final = 0x00
CR8_READ: Final = 0x08
CR0_WRITE: Final = 0x10
CR3_WRITE: Final = 0x13
CR4_WRITE: Final = 0x14
CR8_WRITE: Final = 0x18
DR0_READ: Final = 0x20
DR0_WRITE: Final = 0x30
INTR: Final = 0x60
SMI: Final = 0x62
IDTR_READ: Final = 0x66
GDTR_READ: Final = 0x67
LDTR_READ: Final = 0x68
TR_READ: Final = 0x69
IDTR_WRITE: Final = 0x6A
GDTR_WRITE: Final = 0x6B
LDTR_WRITE: Final = 0x6C
TR_WRITE: Final = 0x6D
RDTSC: Final = 0x6E
RDPMC: Final = 0x6F
PUSHF: Final = 0x70
CPUID: Final = 0x72
PAUSE: Final = 0x77
HLT: Final = 0x78
INVLPGA: Final = 0x7A
MSR: Final = 0x7C
SHUTDOWN: Final = 0x7F
VMRUN: Final = 0x80
VMMCALL: Final = 0x81
VMLOAD: Final = 0x82
VMSAVE: Final = 0x83
STGI: Final = 0x84
CLGI: Final = 0x85
SKINIT: Final = 0x86
MONITOR: Final = 0x8A
MWAIT: Final = 0x8B
NPF: Final = 0x400

SVM_INSTRUCTIONS: Final = frozenset({VMRUN, VMLOAD, VMSAVE, STGI, CLGI, SKINIT, INVLPGA})
"""Instructions that the guest must not find, since its EFER.SVME is set behind its back."""

DESCRIPTOR_TABLE_READS: Final = frozenset({IDTR_READ, GDTR_READ, LDTR_READ, TR_READ})
"""SIDT, SGDT, SLDT and STR."""
FORBIDDEN_BY_UMIP: Final = DESCRIPTOR_TABLE_READS | {CR0_READ}
"""Intercepted while CR4.UMIP is set. SMSW is a read of CR0."""
DEBUG_REGISTER_READS: Final = frozenset(range(DR0_READ, DR0_READ + 8))
DEBUG_REGISTER_WRITES: Final = frozenset(range(DR0_WRITE, DR0_WRITE + 8))

# Control area.
_INTERCEPT_REGISTERS: Final = 0x00  # reads and writes of control and debug registers: bit n is exit code n
_INTERCEPTS: Final = 0x0C
_MSRPM_BASE: Final = 0x48
_ASID: Final = 0x58
_TLB_CONTROL: Final = 0x5C
_VIRTUAL_INTERRUPT: Final = 0x60
_V_INTR_VECTOR: Final = 0x64
_EXIT_INFO_2: Final = 0x80
_NESTED_PAGING: Final = 0x90
_EVENT_INJECTION: Final = 0xA8
_NESTED_CR3: Final = 0xB0
# State save area.
_SAVE: Final = 0x400
_ES, _CS, _SS, _DS, _FS, _GS = (_SAVE + 0x10 * i for i in range(6))
_GDTR, _LDTR, _IDTR, _TR = (_SAVE + 0x60 + 0x10 * i for i in range(4))
_EFER: Final = _SAVE + 0xD0
_CR4: Final = _SAVE + 0x148  # CR4 CR3 CR0 DR7 DR6 RFLAGS RIP
_RSP: Final = _SAVE + 0x1D8
_RAX: Final = _SAVE + 0x1F8
_CR2: Final = _SAVE + 0x240

_EVENT_VALID: Final = 1 << 31
_V_INTR_MASKING: Final = 1 << 24
_FLUSH_ALL: Final = 1
_MSRPM_SIZE: Final = 0x2000
_READ, _WRITE = 1, 2  # an MSR's bits in the permission map

# The CPU keeps these itself; everything else exits. Intercepting them is not only slower: reading an intercepted MSR from outside
# of emulation ends the process.
_PASSED_THROUGH: Final = (*MSRS, x86.MSR_FS_BASE, x86.MSR_GS_BASE)
CANONICAL_ADDRESSES: Final = frozenset(
    {
        x86.MSR_SYSENTER_ESP,
        x86.MSR_SYSENTER_EIP,
        x86.MSR_LSTAR,
        x86.MSR_CSTAR,
        x86.MSR_FS_BASE,
        x86.MSR_GS_BASE,
        x86.MSR_KERNEL_GS_BASE,
    }
)
"""Of addresses. The CPU would let the guest write anything to them, and to PAT: writes exit."""


def attributes(access: int) -> int:
    """A segment's access rights in the VMCB's 12-bit format, from Intel's, which leaves a gap."""
    return access & 0xFF | access >> 4 & 0xF00


def intercept_bits(codes: frozenset[int]) -> tuple[int, int]:
    """The bits of exit codes below 0x40 (accesses to control and debug registers) and from 0x60 on, as the CPU keeps them."""
    return sum(1 << code for code in codes if code < 0x40), sum(1 << code - INTR for code in codes if code >= INTR)


class Vmcb:
    """The one VMCB of a machine: what VMRUN loads the guest from, and what it intercepts."""

    __slots__ = ("_memory", "_permission_map", "_quads", "_words32", "address", "event_injection", "exit_info_2")

    def __init__(self, memory: HostMemory, nested_root: Hpa) -> None:
        self._memory = memory
        self._quads = memory.words
        self.address: Final = memory.allocate()
        self.event_injection: Final = self.address + _EVENT_INJECTION
        """The host-physical address of what VMRUN injects."""
        exit_info_2 = self.address + _EXIT_INFO_2 >> 3
        self.exit_info_2: Final = memory.words[exit_info_2 : exit_info_2 + 1]
        """One word: of a nested page fault, the guest-physical address."""
        self._words32 = memory.page(self.address).cast("I")
        self._permission_map: Final = memory.allocate(_MSRPM_SIZE // PAGE_SIZE)
        self.intercept_msrs()
        self._let_msrs_pass()
        self._pack(_MSRPM_BASE, "Q", self._permission_map)
        self._pack(_ASID, "I", 1)
        self._pack(_TLB_CONTROL, "B", _FLUSH_ALL)
        self._pack(_VIRTUAL_INTERRUPT, "I", _V_INTR_MASKING)
        self._pack(_NESTED_PAGING, "Q", 1)
        self._pack(_NESTED_CR3, "Q", nested_root)

    def _pack(self, offset: int, layout: str, *values: int) -> None:
        struct.pack_into("<" + layout, self._memory.view, self.address + offset, *values)

    def intercept_msrs(self) -> None:
        """Accesses to all MSRs exit."""
        address = self._permission_map
        self._memory.view[address : address + _MSRPM_SIZE] = b"\xff" * _MSRPM_SIZE

    def _let_msrs_pass(self) -> None:
        view, address = self._memory.view, self._permission_map
        for msr in _PASSED_THROUGH:
            bit = 2 * msr if msr < 0x2000 else 2 * (0x2000 + msr - 0xC0000000)
            passed = _READ if msr in CANONICAL_ADDRESSES or msr == x86.MSR_PAT else _READ | _WRITE
            view[address + bit // 8] &= ~(passed << bit % 8) & 0xFF

    def intercept(self, bits: tuple[int, int]) -> None:
        """Which exits VMRUN arms from now on: `intercept_bits`."""
        registers, others = bits
        self._pack(_INTERCEPT_REGISTERS, "Q", registers)
        self._pack(_INTERCEPTS, "Q", others)

    def inject(self, vector: int) -> None:
        """Makes the next VMRUN deliver `vector` as an external interrupt: no error code, whatever the guest's IF."""
        self._words32[_EVENT_INJECTION >> 2] = _EVENT_VALID | vector

    @property
    def injection_pending(self) -> bool:
        """VMRUN has not delivered the event yet."""
        return bool(self._words32[_EVENT_INJECTION >> 2] & _EVENT_VALID)

    def take_injection(self) -> int | None:
        """The vector that the CPU was about to deliver, if any; it is forgotten."""
        event, self._words32[_EVENT_INJECTION >> 2] = self._words32[_EVENT_INJECTION >> 2], 0
        return event & 0xFF if event & _EVENT_VALID else None

    @property
    def interrupt_vector(self) -> int:
        """The vector a virtual interrupt delivers."""
        return self._words32[_V_INTR_VECTOR >> 2]

    @interrupt_vector.setter
    def interrupt_vector(self, vector: int) -> None:
        self._words32[_V_INTR_VECTOR >> 2] = vector

    def write_entry_state(self, entry: EntryState) -> None:
        """The state that VMRUN starts a vCPU with."""
        self.take_injection()
        for offset in (_ES, _SS, _DS, _FS, _GS):
            self._write_segment(offset, entry.data)
        self._write_segment(_CS, entry.cs)
        self._pack(_GDTR, "HHIQ", 0, 0, entry.gdt_limit, entry.gdt_base)
        self._pack(_IDTR, "HHIQ", 0, 0, entry.idt_limit, 0)
        self._pack(_EFER, "Q", entry.efer | x86.EFER_SVME)
        registers = (entry.cr4, entry.cr3, entry.cr0, x86.DR7_RESET, x86.DR6_RESET, x86.RFLAGS_RESERVED_1, entry.rip)
        self._pack(_CR4, "QQQQQQQ", *registers)
        self._pack(_RSP, "Q", entry.rsp)
        self._pack(_RAX, "Q", entry.rax)
        self._pack(_CR2, "Q", 0)

    def _write_segment(self, offset: int, segment: SegmentRegister) -> None:
        self._pack(offset, "HHIQ", segment.selector, attributes(segment.access), segment.limit, segment.base)

    def write_running_state(
        self, segments: tuple[int, ...], registers: tuple[int, ...], *, rsp: int, rax: int, cr2: int, efer: int
    ) -> None:
        """The state of a guest that was running, to be entered again.

        `segments`: selector, base, limit and the descriptor's second word of ES, CS, SS and DS; base and limit of GDTR and IDTR.
        `registers`: CR4 CR3 CR0 DR7 DR6 RFLAGS RIP.
        """
        # fmt: off
        (
            es, es_base, es_limit, es_flags, cs, cs_base, cs_limit, cs_flags,
            ss, ss_base, ss_limit, ss_flags, ds, ds_base, ds_limit, ds_flags,
            gdt_base, gdt_limit, idt_base, idt_limit,
        ) = segments
        view, base = self._memory.view, self.address
        _SEGMENTS.pack_into(
            view, base + _ES,
            es & 0xFFFF, es_flags >> 8 & 0xFF | es_flags >> 12 & 0xF00, es_limit, es_base,
            cs & 0xFFFF, cs_flags >> 8 & 0xFF | cs_flags >> 12 & 0xF00, cs_limit, cs_base,
            ss & 0xFFFF, ss_flags >> 8 & 0xFF | ss_flags >> 12 & 0xF00, ss_limit, ss_base,
            ds & 0xFFFF, ds_flags >> 8 & 0xFF | ds_flags >> 12 & 0xF00, ds_limit, ds_base,
            gdt_limit, gdt_base, idt_limit, idt_base,
        )
        # fmt: on
        _REGISTERS.pack_into(view, base + _CR4, *registers)
        quads, index = self._quads, base >> 3
        quads[index + (_RSP >> 3)], quads[index + (_RAX >> 3)], quads[index + (_CR2 >> 3)] = rsp, rax, cr2
        quads[index + (_EFER >> 3)] = efer | x86.EFER_SVME


_SEGMENTS: Final = struct.Struct("<" + "HHIQ" * 4 + "32x" + "4xIQ16x4xIQ")  # FS, GS and LDTR are none that VMRUN loads
_REGISTERS: Final = struct.Struct("<7Q")
