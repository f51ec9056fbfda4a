"""Which instructions and events of the guest exit (AMD64 APM vol. 2, "Instruction intercepts")."""

from typing import Final

from kev.engine.amdv import layout, vmcb
from kev.engine.amdv.layout import CpuMemory
from kev.engine.amdv.vmcb import Vmcb

_ALWAYS: Final = vmcb.SVM_INSTRUCTIONS | {
    vmcb.INTR,
    vmcb.RDTSC,
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

    __slots__ = ("_cpu", "_intercepted", "_paging_changes", "_several_vcpus", "_umip", "_vmcb", "logs_cr3", "watches_address_space")

    def __init__(self, cpu: CpuMemory, vmcb: Vmcb) -> None:
        self._cpu: Final = cpu
        self._vmcb: Final = vmcb
        self._umip = False
        self._several_vcpus = False
        self.logs_cr3 = False
        """Writes to CR3 exit for whoever wants to see them."""
        self.watches_address_space = False
        """Writes to CR0 and CR3 exit because what is watched may lie elsewhere then."""
        self._paging_changes = False
        self._write()

    def set_umip(self, enabled: bool) -> None:
        """CR4.UMIP of the current vCPU is `enabled`: SGDT and its like have to exit, or not."""
        if enabled != self._umip:
            self._umip = enabled
            self._write()

    def switch(self, umip: bool) -> None:
        """Another vCPU is current, with this CR4.UMIP: what the CPU goes by is of when that vCPU was put aside."""
        if umip != self._umip:
            self.set_umip(umip)
        else:
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
        if self._several_vcpus:
            codes |= {vmcb.PAUSE}
        if self._umip:
            codes |= vmcb.FORBIDDEN_BY_UMIP
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
