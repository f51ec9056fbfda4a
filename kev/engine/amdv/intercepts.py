"""Which instructions and events of the guest exit (AMD64 APM vol. 2, "Instruction intercepts")."""

from typing import Final

from kev.engine.amdv import layout, vmcb
from kev.engine.amdv.layout import CpuMemory
from kev.engine.amdv.libunicorn import LOADS_DR7
from kev.engine.amdv.vcpu import AmdvVcpu
from kev.engine.amdv.vmcb import Vmcb, intercept_bits
from kev.x86 import CR4_TSD, CR4_UMIP, DR7_GD, EFER_LME

_CR4: Final = (layout.CONTROL_REGISTERS >> 3) + 4
_EFER: Final = layout.EFER >> 3
_DR7: Final = (layout.DEBUG_REGISTERS >> 3) + 7

_ALWAYS: Final = vmcb.SVM_INSTRUCTIONS | {
    vmcb.INTR,
    vmcb.SMI,
    vmcb.IDTR_WRITE,
    vmcb.GDTR_WRITE,
    vmcb.LDTR_WRITE,
    vmcb.TR_WRITE,
    vmcb.RDPMC,
    vmcb.CPUID,
    vmcb.HLT,
    vmcb.MSR,
    vmcb.SHUTDOWN,
    vmcb.VMMCALL,
    vmcb.MONITOR,
    vmcb.MWAIT,
    vmcb.CR8_READ,
    vmcb.CR0_WRITE,
    vmcb.CR4_WRITE,
    vmcb.CR8_WRITE,
}


class Intercepts:
    """What exits from the next instruction on."""

    __slots__ = (
        "_bits",
        "_cpu",
        "_intercepted",
        "_vmcb",
        "keeps_msrs",
        "logs_cr3",
        "modes",
        "watches_address_space",
        "watches_counter",
        "watches_pauses",
    )

    def __init__(self, cpu: CpuMemory, vmcb: Vmcb) -> None:
        self._cpu: Final = cpu
        self._vmcb: Final = vmcb
        self.modes: tuple[int, int, int, bool] = (0, 0, 0, False)
        """Of the current vCPU: CR4.UMIP and CR4.TSD, EFER.LME, DR7.GD, and whether PUSHF is the CPU's own."""
        self._bits: Final[dict[tuple[tuple[int, ...], tuple[bool, ...]], tuple[int, int]]] = {}
        """For vCPUs in different modes that take turns: what `_codes` came to."""
        self.keeps_msrs = True
        """The CPU keeps some MSRs itself; else accesses to these exit, too."""
        self.logs_cr3 = False
        """Writes to CR3 exit for whoever wants to see them."""
        self.watches_address_space = False
        """Writes to CR3 exit because what is watched may lie elsewhere then."""
        self.watches_counter = True
        """RDTSC and RDTSCP exit."""
        self.watches_pauses = False
        """PAUSE exits."""
        self._write()

    def follow(self, vcpu: AmdvVcpu) -> bool:
        """CR4, DR7 or EFER of the current vCPU may have changed. Whether that makes a difference.

        While CR4.UMIP is set, SGDT and its like exit, and while DR7.GD is, reads of debug registers. Reads of CR0 exit
        outside of IA-32e mode, where kernels read it seldom, because the emulated CPU takes every SMSW there for one of 16 bits.
        PUSHF exits as long as the vCPU may be in real mode, and RDTSC wherever CR4.TSD may forbid it.
        """
        quads = vcpu.quads
        modes = quads[_CR4] & (CR4_UMIP | CR4_TSD), quads[_EFER] & EFER_LME, quads[_DR7] & DR7_GD, vcpu.shows_rf
        vcpu.modes = modes
        if modes == self.modes:
            return False
        self.modes = modes
        self._write()
        return True

    def switch(self, vcpu: AmdvVcpu) -> None:
        """Another vCPU is current: what the CPU goes by is of when that one was put aside."""
        if not self.follow(vcpu):
            self._copy()

    def watch_pauses(self, enabled: bool) -> None:
        """PAUSE exits from now on, or not."""
        if enabled != self.watches_pauses:
            self.watches_pauses = enabled
            self._write()

    def expect_cr3_writes(self) -> None:
        """Writes to CR3 exit from now on: somebody wants to see them."""
        self.logs_cr3 = True
        self._write()

    def expect_msrs(self) -> None:
        """Accesses to all MSRs exit from now on."""
        self.keeps_msrs = False
        self._vmcb.intercept_msrs()

    def watch_counter(self, enabled: bool) -> None:
        """RDTSC and RDTSCP exit from now on, or not."""
        if enabled != self.watches_counter:
            self.watches_counter = enabled
            self._write()

    def watch_address_space(self, enabled: bool) -> None:
        """Writes to CR3 exit from now on, or not."""
        if enabled != self.watches_address_space:
            self.watches_address_space = enabled
            self._write()

    def _write(self) -> None:
        wishes = (
            self.watches_pauses,
            self.logs_cr3,
            self.watches_address_space,
            self.watches_counter,
        )
        bits = self._bits.get((self.modes, wishes))
        if bits is None:
            bits = self._bits[self.modes, wishes] = intercept_bits(self._codes())
        self._vmcb.intercept(bits)
        self._intercepted = bits
        self._copy()

    def _codes(self) -> frozenset[int]:
        forbidden, long_mode, general_detect, shows_rf = self.modes
        codes = _ALWAYS
        if LOADS_DR7:
            codes |= vmcb.DEBUG_REGISTER_WRITES
        if self.watches_pauses:
            codes |= {vmcb.PAUSE}
        if self.watches_counter or forbidden & CR4_TSD:
            codes |= {vmcb.RDTSC}
        if forbidden & CR4_UMIP:
            codes |= vmcb.FORBIDDEN_BY_UMIP
        if general_detect and LOADS_DR7:
            codes |= vmcb.DEBUG_REGISTER_READS
        if not shows_rf:
            codes |= {vmcb.PUSHF}
        if not long_mode:
            codes |= {vmcb.CR0_READ}
        if self.logs_cr3 or self.watches_address_space:
            codes |= {vmcb.CR3_WRITE}
        return codes

    def _copy(self) -> None:
        """Until the next VMRUN, the CPU goes by its own copy."""
        quads = self._cpu.quads
        quads[layout.INTERCEPT_REGISTERS >> 3], quads[layout.INTERCEPT >> 3] = self._intercepted
