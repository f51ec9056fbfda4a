"""Event delivery by the CPU itself: VMRUN with an injected event.

Unicorn reports an exception of the guest and leaves it at that. VMRUN's event injection, though, performs the whole delivery (gate,
privilege change, stack, frame) in every mode, so the guest is entered anew for each event: its state is written to
the VMCB, the CPU goes back to host mode, on a VMRUN instruction, and runs on. A pending host interrupt, which the guest may not
mask, exits right after the delivery, before the handler's first instruction.

AMD64 Architecture Programmer's Manual vol. 2, "VMRUN instruction" and "Event injection".
"""

import struct
from typing import Final

from kev import x86
from kev.addressing import Hpa
from kev.engine.amdv import layout
from kev.engine.amdv.layout import CpuMemory
from kev.engine.amdv.libunicorn import REG_CR0, REG_CR4, REG_EFLAGS, EmulatedCpu
from kev.engine.amdv.vcpu import CS, HFLAGS_IO_BREAKPOINTS, AmdvVcpu, Event
from kev.engine.amdv.vmcb import Vmcb
from kev.engine.base import EntryState
from kev.host_memory import HostMemory

INTERRUPT_HARD: Final = 0x002
"""A host interrupt: it exits with INTR, whatever the guest's RFLAGS.IF."""
INTERRUPT_SMI: Final = 0x040
"""Exits with SMI, whatever else is set: no guest has system management mode."""
INTERRUPT_VIRTUAL: Final = 0x100
"""A guest interrupt: delivered when the guest allows."""
INTERRUPT_NMI: Final = 0x200

_MAKES_A_DOUBLE_FAULT: Final = x86.CONTRIBUTORY | {
    x86.DOUBLE_FAULT,
    x86.PAGE_FAULT,
}  # with another one; a double fault, with any, a triple fault
_NO_EXCEPTION: Final = 0xFFFF_FFFF

_VMRUN: Final = b"\x0f\x01\xd8"
_HOST_CR0: Final = x86.CR0_PE | x86.CR0_ET  # paging off
_HOST_CR4: Final = x86.CR4_PAE  # otherwise VMRUN takes the nested tables to have two levels
_HOST_EFER: Final = x86.EFER_SVME | x86.EFER_LME | x86.EFER_LMA | x86.EFER_NXE  # nested tables of four levels, in which NX counts
_HOST_RFLAGS: Final = x86.RFLAGS_RESERVED_1 | x86.RFLAGS_IF  # otherwise no host interrupt exits while the guest runs
_HFLAGS2_NMI_BLOCKED: Final = 1 << 2


_NO_FAULTS: Final = (x86.DEBUG, x86.NMI, x86.BREAKPOINT, x86.OVERFLOW, x86.DOUBLE_FAULT, x86.MACHINE_CHECK)
_MENDED: Final = (x86.NO_DEVICE, x86.PAGE_FAULT)
"""Behind which kernels go on with the instruction."""
_SET_RF: Final = frozenset(range(22)).difference(_NO_FAULTS, _MENDED)


def _sets_rf(vcpu: AmdvVcpu, event: Event) -> bool:
    """Whether RF is set in the frame, as it is for faults (Intel SDM vol. 3, "Instruction-breakpoint exception condition").

    The emulated CPU keeps RF for more than one instruction after IRET: PUSHF shows it there, and breakpoints are missed. So it is
    not set for what kernels return from all the time, nor while breakpoints on instructions are enabled: to meet one again behind
    a fault is better.
    """
    if event.instruction_length or event.exception.vector not in _SET_RF:
        return False
    dr7 = vcpu.quads[_DR6 + 1]
    return not any(dr7 >> 2 * number & 3 and not dr7 >> 16 + 4 * number & 3 for number in range(4))


_SEGMENT_RELATED: Final = frozenset({x86.INVALID_TSS, x86.SEGMENT_NOT_PRESENT, x86.STACK_FAULT, x86.GENERAL_PROTECTION})


def nested_error_code(vcpu: AmdvVcpu, delivering: Event, vector: int, error_code: int | None) -> int | None:
    """The error code of an exception met while another event was delivered (Intel SDM vol. 3, "Error code").

    The emulated CPU numbers the gates of a 64-bit IDT as if they had 8 bytes, and never says that the cause lies outside of the
    program.
    """
    if error_code is None or vector not in _SEGMENT_RELATED:
        return error_code
    gate = delivering.exception.vector
    if vcpu.long_mode and error_code == gate << 4 | x86.ERROR_IDT:
        error_code = gate << 3 | x86.ERROR_IDT
    return error_code if delivering.instruction_length else error_code | x86.ERROR_EXTERNAL


class EventDelivery:
    """Enters the guest: at a vCPU's start and for every event."""

    __slots__ = ("_cpu", "_host_hflags", "_uc", "_vmcb", "vmrun")

    def __init__(self, uc: EmulatedCpu, cpu: CpuMemory, memory: HostMemory, vmcb: Vmcb) -> None:
        self._uc = uc
        self._cpu = cpu
        self._vmcb = vmcb
        self.vmrun: Final[Hpa] = memory.allocate()
        """Where a VMRUN is, for the CPU in host mode."""
        memory.view[self.vmrun : self.vmrun + len(_VMRUN)] = _VMRUN
        uc.write_msr(x86.MSR_EFER, _HOST_EFER)
        uc.write_msr(x86.MSR_VM_HSAVE_PA, memory.allocate())
        uc.write_register(REG_CR0, _HOST_CR0)
        uc.write_register(REG_CR4, _HOST_CR4)
        uc.write_register(REG_EFLAGS, _HOST_RFLAGS)
        self._host_hflags = cpu.words[layout.HFLAGS >> 2] | HFLAGS_IO_BREAKPOINTS

    def prepare_entry(self, vcpu: AmdvVcpu, entry: EntryState) -> None:
        """Makes the next run begin with the entry of `vcpu`, which must be current, and stop before its first instruction."""
        vcpu.quads[layout.GENERAL_REGISTERS >> 3 : (layout.GENERAL_REGISTERS >> 3) + 16] = _NO_REGISTERS
        vcpu.rbx, vcpu.rdx, vcpu.rsi = entry.rbx, entry.rdx, entry.rsi
        for number in (4, 5):  # FS and GS, which VMRUN does not load
            data = entry.data
            flags = (data.access & 0xF0FF) << 8
            vcpu.set_raw_segment(number, data.selector, data.base, data.limit, flags)
        vcpu.reset_task()
        self._vmcb.write_entry_state(entry)
        self._to_host_mode(vcpu)

    def prepare_event(self, vcpu: AmdvVcpu, event: Event) -> None:
        """Makes the CPU deliver `event` next, and exit with INTR right after. `vcpu` must be current."""
        exception = event.exception
        if exception.address is not None:
            vcpu.cr2 = exception.address
        vector = exception.vector
        vcpu.words[layout.OLD_EXCEPTION >> 2] = vector if vector in _MAKES_A_DOUBLE_FAULT else _NO_EXCEPTION
        self._write_running_state(vcpu, x86.RFLAGS_RF if _sets_rf(vcpu, event) else 0)
        self._vmcb.inject(vector)
        self._to_host_mode(vcpu)

    def forget_event(self) -> None:
        """What the CPU was told to deliver next, it will not."""
        self._vmcb.take_injection()

    def prepare_load(self, vcpu: AmdvVcpu) -> None:
        """Makes the next run begin with `vcpu`'s own state, loaded anew, and stop before its first instruction."""
        self._vmcb.take_injection()
        self._write_running_state(vcpu)
        self._to_host_mode(vcpu)

    def _write_running_state(self, vcpu: AmdvVcpu, flags: int = 0) -> None:
        """With `flags` in RFLAGS, too."""
        state, quads = self._cpu.state, vcpu.quads
        segments = _SEGMENTS.unpack_from(state, layout.SEGMENTS)
        cr0, _, cr2, cr3, cr4 = _CONTROL_REGISTERS.unpack_from(state, layout.CONTROL_REGISTERS)
        dr6, dr7 = quads[_DR6], quads[_DR6 + 1]
        rflags = self._uc.read_register(REG_EFLAGS) | flags
        self._vmcb.write_running_state(
            segments,
            (cr4, cr3, cr0, dr7, dr6, rflags, quads[layout.RIP >> 3]),
            rsp=quads[_RSP],
            rax=quads[_RAX],
            cr2=cr2,
            efer=quads[layout.EFER >> 3],
        )

    def finish_event(self, vcpu: AmdvVcpu) -> bool:
        """Says whether the event is in the guest's frame now; if not, something intervened and it has to be prepared again."""
        if self._vmcb.injection_pending:
            return False
        vcpu.words[layout.OLD_EXCEPTION >> 2] = _NO_EXCEPTION
        vcpu.words[layout.EXCEPTION_IS_INT >> 2] = 0
        return True

    def _to_host_mode(self, vcpu: AmdvVcpu) -> None:
        quads, words = vcpu.quads, vcpu.words
        words[layout.HFLAGS >> 2] = self._host_hflags
        words[layout.HFLAGS2 >> 2] &= _HFLAGS2_NMI_BLOCKED  # no GIF: nothing may interrupt the host
        control = layout.CONTROL_REGISTERS >> 3
        quads[control], quads[control + 3], quads[control + 4] = _HOST_CR0, 0, _HOST_CR4
        quads[layout.EFER >> 3] = _HOST_EFER
        quads[layout.RFLAGS >> 3] = _HOST_RFLAGS
        vcpu.set_raw_segment(CS, 0, 0, 0xFFFF_FFFF, 0)
        vcpu.rip = self.vmrun
        vcpu.rax = self._vmcb.address
        self._uc.flush_tlb()
        self._cpu.interrupt_request.value |= INTERRUPT_HARD
        self._cpu.leave_chain.value = 0xFFFF


_NO_REGISTERS: Final = memoryview(bytes(16 * 8)).cast("Q")
_SEGMENTS: Final = struct.Struct("<" + "I4xQII" * 4 + "96x" + "8xQI4x" * 2)  # ES CS SS DS, then GDTR IDTR
_CONTROL_REGISTERS: Final = struct.Struct("<5Q")
_RAX, _RSP = (layout.GENERAL_REGISTERS >> 3) + 0, (layout.GENERAL_REGISTERS >> 3) + 4
_DR6: Final = (layout.DEBUG_REGISTERS >> 3) + 6
