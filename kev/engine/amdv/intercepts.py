"""Which instructions and events of the guest exit (AMD64 APM vol. 2, "Instruction intercepts")."""

from typing import Final

from kev.engine.amdv import layout, vmcb
from kev.engine.amdv.layout import CpuMemory
from kev.engine.amdv.libunicorn import LOADS_DR7
from kev.engine.amdv.vcpu import AmdvVcpu
from kev.engine.amdv.vmcb import Vmcb
from kev.x86 import CR4_UMIP, DR7_GD, EFER_LME

_ALWAYS: Final = vmcb.SVM_INSTRUCTIONS | {
    vmcb.INTR,
    vmcb.IDTR_WRITE,
    vmcb.GDTR_WRITE,
    vmcb.LDTR_WRITE,
    vmcb.TR_WRITE,
    vmcb.RDTSC,
    vmcb.RDPMC,
    vmcb.CPUID,
    vmcb.HLT,
    vmcb.MSR,
    vmcb.SHUTDOWN,
    vmcb.VMMCALL,
    vmcb.MONITOR,
    vmcb.MWAIT,
    vmcb.CR8_READ,
    vmcb.CR4_WRITE,
    vmcb.CR8_WRITE,
}


class Intercepts:
    """What exits from the next instruction on."""

    __slots__ = (
        "_cpu",
        "_general_detect",
        "_intercepted",
        "_paging_changes",
        "_pushes_flags",
        "_reads_cr0",
        "_several_vcpus",
        "_umip",
        "_vmcb",
        "logs_cr3",
        "watches_address_space",
    )

    def __init__(self, cpu: CpuMemory, vmcb: Vmcb) -> None:
        self._cpu: Final = cpu
        self._vmcb: Final = vmcb
        self._umip = False
        self._reads_cr0 = True
        self._general_detect = False
        self._pushes_flags = True
        self._several_vcpus = False
        self.logs_cr3 = False
        """Writes to CR3 exit for whoever wants to see them."""
        self.watches_address_space = False
        """Writes to CR0 and CR3 exit because what is watched may lie elsewhere then."""
        self._paging_changes = False
        self._write()

    def follow(self, vcpu: AmdvVcpu) -> bool:
        """CR4, DR7 or EFER of the current vCPU may have changed. Whether that makes a difference.

        While CR4.UMIP is set, SGDT and its like exit, and while DR7.GD is, all accesses to debug registers. Reads of CR0 exit
        outside of IA-32e mode, where kernels read it seldom, because the emulated CPU takes every SMSW there for one of 16 bits.
        PUSHF exits as long as the vCPU may be in real mode.
        """
        umip, general_detect = bool(vcpu.cr4 & CR4_UMIP), bool(vcpu.dr7 & DR7_GD)
        modes = umip, not vcpu.efer & EFER_LME, general_detect, not vcpu.shows_rf
        if modes == (self._umip, self._reads_cr0, self._general_detect, self._pushes_flags):
            return False
        self._umip, self._reads_cr0, self._general_detect, self._pushes_flags = modes
        self._write()
        return True

    def switch(self, vcpu: AmdvVcpu) -> None:
        """Another vCPU is current: what the CPU goes by is of when that one was put aside."""
        if not self.follow(vcpu):
            self._copy()

    def expect_several_vcpus(self) -> None:
        """PAUSE exits from now on: another vCPU may be what is waited for."""
        self._several_vcpus = True
        self._write()

    def expect_cr3_writes(self) -> None:
        """Writes to CR3 exit from now on: somebody wants to see them."""
        self.logs_cr3 = True
        self._write()

    def watch_address_space(self, enabled: bool) -> None:
        """Writes to CR0 and CR3 exit from now on, or not."""
        if enabled != self.watches_address_space or self._paging_changes:
            self.watches_address_space = enabled
            self._paging_changes = False
            self._write()

    def let_paging_change(self) -> None:
        """Writes to CR0 do not exit until `watch_address_space`."""
        self._paging_changes = True
        self._write()

    def _write(self) -> None:
        codes = _ALWAYS
        if LOADS_DR7:
            codes |= vmcb.BREAKPOINT_WRITES
        if self._several_vcpus:
            codes |= {vmcb.PAUSE}
        if self._umip:
            codes |= vmcb.FORBIDDEN_BY_UMIP
        if self._general_detect and LOADS_DR7:
            codes |= vmcb.DEBUG_REGISTER_READS | vmcb.DEBUG_REGISTER_WRITES
        if self._pushes_flags:
            codes |= {vmcb.PUSHF}
        if self._reads_cr0:
            codes |= {vmcb.CR0_READ}
        if self.logs_cr3 or self.watches_address_space:
            codes |= {vmcb.CR3_WRITE}
        if self.watches_address_space and not self._paging_changes:
            codes |= {vmcb.CR0_WRITE}
        self._intercepted = self._vmcb.intercept(codes)
        self._copy()

    def _copy(self) -> None:
        """Until the next VMRUN, the CPU goes by its own copy."""
        quads = self._cpu.quads
        quads[layout.INTERCEPT_REGISTERS >> 3], quads[layout.INTERCEPT >> 3] = self._intercepted
