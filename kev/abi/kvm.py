"""KVM's ABI (Linux, Documentation/virt/kvm/x86: hypercalls.rst, cpuid.rst, msr.rst), as far as CPUID announces it.

Numbers are in RAX, arguments in RBX, RCX, RDX and RSI, of 32 bits each outside of 64-bit mode. A number that CPUID does not
announce gets KVM_ENOSYS, and any number KVM_EPERM if it does not come from CPL 0.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from kev.abi.base import GuestAbi
from kev.dev.base import Device
from kev.dev.clocks.kvmclock import KvmClock
from kev.dev.interrupts.local_apic.message import DeliveryMode, InterruptMessage
from kev.engine.base import VcpuState
from kev.exits import CpuidResult, Vmcall
from kev.x86 import EFER_LMA, SEGMENT_L

ENOSYS: Final = -1000
_EPERM: Final = -1
_EINVAL: Final = -22

_VAPIC_POLL_IRQ: Final = 1
"""Makes the hypervisor look for interrupts, which this one does anyway."""
_SEND_IPI: Final = 10

_FEATURES: Final = (
    1 << 0  # clock source at MSRs 0x11 and 0x12
    | 1 << 3  # clock source at MSRs 0x4b564d00 and 0x4b564d01
    | 1 << 11  # KVM_HC_SEND_IPI
    | 1 << 24  # the clock sources are stable
)
_SIGNATURE: Final = (0x4B4D564B, 0x564B4D56, 0x4D)  # "KVMKVMKVM"
LEAVES: Final = {
    0x40000000: CpuidResult(0x40000001, *_SIGNATURE),
    0x40000001: CpuidResult(_FEATURES, 0, 0, 0),
}
UNDER_A_HYPERVISOR: Final = 1 << 31
"""Of leaf 1, ECX."""

_MASK32: Final = 0xFFFF_FFFF
_MASK64: Final = 0xFFFF_FFFF_FFFF_FFFF

_ICR_SHORTHAND_OR_LOGICAL: Final = 3 << 18 | 1 << 11
_ICR_LEVEL_TRIGGERED: Final = 1 << 15


class Kvm(GuestAbi):
    """What "KVMKVMKVM" promises: kvmclock, IPIs to many processors by one hypercall, and refusals that a guest can read."""

    name = "kvm"

    @classmethod
    def cpuid_leaves(cls, machine: Mapping[int, CpuidResult]) -> Mapping[int, CpuidResult]:
        features = machine[1]
        return {**machine, 1: features._replace(ecx=features.ecx | UNDER_A_HYPERVISOR), **LEAVES}

    def devices(self) -> Sequence[Device]:
        services = self.services
        return (KvmClock(services.counters, services.clock, services.boot_time, services.memory),)

    def hypercall(self, state: VcpuState, exit: Vmcall) -> int | None:
        mask = _MASK64 if in_64_bit_mode(state) else _MASK32
        return self._answer(state, mask) & mask

    def _answer(self, state: VcpuState, mask: int) -> int:
        if state.cpl:
            return _EPERM
        number = state.rax & mask
        if number == _SEND_IPI:
            return self._send_ipi(state, mask)
        return 0 if number == _VAPIC_POLL_IRQ else ENOSYS

    def _send_ipi(self, state: VcpuState, mask: int) -> int:
        """RBX and RCX are a bitmap of APIC ids from that in RDX on, RSI is as the ICR. Returns how many processors took it."""
        command = state.rsi & mask
        if command & _ICR_SHORTHAND_OR_LOGICAL:
            return _EINVAL
        mode, vector = DeliveryMode(command >> 8 & 7), command & 0xFF
        level_triggered = bool(command & _ICR_LEVEL_TRIGGERED)
        bitmap = state.rbx & mask | (state.rcx & mask) << mask.bit_length()
        first = state.rdx & _MASK32
        send = self.services.send_interrupt
        return sum(
            send(InterruptMessage(mode, vector, apic_id, level_triggered=level_triggered, wide=True))
            for apic_id in range(first, len(self.services.counters))
            if bitmap >> (apic_id - first) & 1
        )


def in_64_bit_mode(state: VcpuState) -> bool:
    """EFER.LMA and CS.L are set (Intel SDM vol. 3, "IA-32e mode")."""
    return bool(state.efer & EFER_LMA and state.cs.access & SEGMENT_L)
