"""lvisor's ABI: the system calls of lv6, served by the hypervisor for programs that make them by VMCALL, or by SYSCALL.

lvisor shows its guests the processor without VMX, and KVM's signature without any of KVM's features, so that Linux uses the
x2APIC. CR4.VMXE may be set. It logs writes to CR3.
"""

from collections.abc import Mapping
from typing import Final

from kev.abi.base import GuestAbi, HypercallError
from kev.abi.kvm import LEAVES, UNDER_A_HYPERVISOR
from kev.engine.base import VcpuState
from kev.exits import CpuidResult, Vmcall
from kev.x86 import CR4_VMXE

_HEY: Final = 0
_BYE: Final = 1
_ENOSYS: Final = -38
_USER: Final = 3
_MASK64: Final = 0xFFFF_FFFF_FFFF_FFFF


class Lvisor(GuestAbi):
    """A call from CPL 3 with the number in RAX and an int in RDI: 0 says hey, 1 says bye and ends the guest. Others get -ENOSYS."""

    name = "lvisor"
    logs = ("cr3",)
    serves_system_calls = True
    extra_cr4 = CR4_VMXE

    @classmethod
    def cpuid_leaves(cls, machine: Mapping[int, CpuidResult]) -> Mapping[int, CpuidResult]:
        features = machine[1]
        without_features = {**LEAVES, 0x40000001: CpuidResult(0, 0, 0, 0)}
        return {**machine, 1: features._replace(ecx=features.ecx | UNDER_A_HYPERVISOR), **without_features}

    def hypercall(self, state: VcpuState, exit: Vmcall) -> int | None:
        """HypercallError for a kernel: it has no hypercalls."""
        if state.cpl != _USER:
            raise HypercallError(f"hypercall {state.rax:#x} from CPL {state.cpl}: lvisor serves programs, at CPL 3")
        return self.system_call(state)

    def system_call(self, state: VcpuState) -> int | None:
        if state.rax == _HEY:
            self._say("hey", state)
            return 0
        if state.rax == _BYE:
            self._say("bye", state)
            self.services.end(0)
            return None
        return _ENOSYS & _MASK64

    def _say(self, word: str, state: VcpuState) -> None:
        argument = (state.rdi + 2**31 & 0xFFFF_FFFF) - 2**31
        self.services.write(f"{word} {argument}\n".encode())
