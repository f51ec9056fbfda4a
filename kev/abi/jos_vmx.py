"""The ABI of JOS-vmx: a kernel that runs itself once more inside a virtual machine.

CPUID leaf 0xfeedcafe says 0xdeadbeef in EAX, by which the kernel knows that it is inside, and leaves the other registers as they
are. CPUID shows no VMX and no hypervisor, but the guest may set CR4.VMXE, which is set when it is entered. There are no hypercalls:
VMCALL, as any exit without a handler, ends the guest with a panic. So does an EPT violation, beyond the 4 GiB that are mapped. INIT
stops the virtual machine.
"""

from collections.abc import Callable, Mapping
from typing import Final, NoReturn

from kev.abi.base import GuestAbi, HypercallError
from kev.addressing import GIB
from kev.engine.base import EntryState, VcpuState
from kev.engine.vm_entry import real_mode_vm_entry
from kev.exits import Access, CpuidResult, EptViolation, Vmcall
from kev.x86 import CR0_PG, CR4_VMXE

INSIDE_LEAF: Final = 0xFEED_CAFE
"""The CPUID leaf by which a guest finds out where it is."""
INSIDE: Final = 0xDEAD_BEEF

_BOOT_SECTOR: Final = 0x7C00
_MAPPED: Final = 4 * GIB
_REASON_VMCALL: Final = 18
"""Of the basic exit reasons (Intel SDM vol. 3, appendix C)."""
_STOPPED: Final = b"VM Stopped\n"
_MASK32: Final = 0xFFFF_FFFF
_LINEAR_VALID: Final = 1 << 7
_FINAL_TRANSLATION: Final = 1 << 8
"""Bits of an EPT violation's exit qualification (Intel SDM vol. 3, "Exit qualification for EPT violations")."""


class JosVmx(GuestAbi):
    """See above."""

    name = "jos_vmx"
    extra_cr4 = CR4_VMXE
    handles_violations = True
    handles_init = True

    def own_leaves(self) -> Mapping[int, Callable[[VcpuState], CpuidResult]]:
        return {INSIDE_LEAF: lambda state: CpuidResult(INSIDE, state.rbx, state.rcx, state.rdx)}

    @classmethod
    def entry(cls, protocol: str, state: EntryState) -> EntryState:
        """A boot sector is entered by VM entry, and not by a BIOS: DL does not say which drive it is on, and there is no stack."""
        if protocol != "real_mode":
            return state
        return real_mode_vm_entry(_BOOT_SECTOR)

    def hypercall(self, state: VcpuState, exit: Vmcall) -> NoReturn:
        """HypercallError: there are none."""
        self._panic(
            f"Fatal error: handler not implemented. code:{_REASON_VMCALL}, ip:{state.rip & _MASK32:x}",
            f"hypercall {state.rax:#x}: JOS-vmx has none",
        )

    def initialized(self, state: VcpuState) -> None:
        """INIT is what stops a virtual machine of JOS-vmx."""
        self.services.write(_STOPPED)
        self.services.end(0)

    def violated(self, state: VcpuState, exit: EptViolation) -> None:
        """HypercallError above 4 GiB. Below, all is mapped, and what nobody answers reads ones."""
        if exit.gpa < _MAPPED:
            return
        linear = _linear_address(state, exit)
        valid = 0 if linear is None else _LINEAR_VALID | _FINAL_TRANSLATION
        self.services.write(
            f"EPT_Violation Error code: {exit.access.value | valid:08x}\n"
            f"EPT_Violation guest_linear_addr: {(linear or 0) & _MASK32:08x}\n"
            f"EPT_Violation guest_physical_addr: {exit.gpa & _MASK32:08x}\n"
            f"EPT_Violation guest_physical_addr_high: {exit.gpa >> 32:08x}\n".encode()
        )
        self._panic("EPT_Violation", f"EPT violation at gpa {exit.gpa:#x}, beyond the 4 GiB that JOS-vmx maps")

    def _panic(self, text: str, why: str) -> NoReturn:
        """Prints `text` as JOS does of a panic, without the place in its source. HypercallError, with `why`."""
        self.services.write(f"kernel panic: {text}\n".encode())
        raise HypercallError(why)


def _linear_address(state: VcpuState, exit: EptViolation) -> int | None:
    """Where the guest thought it was; None if only its own page tables could tell."""
    if exit.access is Access.EXECUTE:
        return state.cs.base + state.rip
    return None if state.cr0 & CR0_PG else exit.gpa
