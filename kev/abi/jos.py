"""The ABI of the JOS VMM: VMCALL from CPL 0 and 3, numbers in RAX.

1 MBMAP asks for the memory map, 2 IPCSEND and 3 IPCRECV exchange messages with environments of the host, 4 LAPICEOI ends an
interrupt, 5 BACKTOHOST leaves the guest, 6 GETDISKIMGNUM asks how many guests there have been. Any other number, as any exit that
the JOS VMM does not handle, ends the guest with a dump of its registers. CPUID shows no VMX and no hypervisor, but the guest may
set CR4.VMXE. HLT with interrupts off is its way to shut down.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Final

from kev.abi.base import GuestAbi, HypercallError
from kev.addressing import KIB, MIB, Gpa
from kev.engine.base import VcpuState
from kev.exits import CpuidResult, Vmcall

MEMORY_MAP_GPA: Final = Gpa(0x6000)
"""Where MBMAP writes the memory map."""

_MASK32: Final = 0xFFFF_FFFF
_MASK64: Final = 0xFFFF_FFFF_FFFF_FFFF
_E_INVAL: Final = -3

_VMX: Final = 1 << 5
"""Of CPUID leaf 1, ECX."""
_CR4_VMXE: Final = 1 << 13

_INFORMATION: Final = struct.Struct("<I40xII")
"""Multiboot 1 information up to mmap_addr: flags, mmap_length, mmap_addr."""
_HAS_MEMORY_MAP: Final = 1 << 6
_SEGMENT: Final = struct.Struct("<IQQI")
"""An entry of the memory map: its size without this field, base, length, type."""
_USABLE, _RESERVED = 1, 2
_BASE_MEMORY_END: Final = 640 * KIB

_BACK_TO_HOST: Final = b"Now back to the host, VM halt in the background, run vmmanager to resume the VM.\n"
_HALTED: Final = b"\nHLT in guest, exiting guest.\n"
_UNHANDLED: Final = "Unhandled VMEXIT, aborting guest.\n"


def memory_map(phys_size: int) -> bytes:
    """What MBMAP writes for a guest of `phys_size` bytes of RAM: Multiboot 1 information with three segments behind it."""
    segments = (
        (0, _BASE_MEMORY_END, _USABLE),
        (_BASE_MEMORY_END, MIB - _BASE_MEMORY_END, _RESERVED),
        (MIB, phys_size - MIB, _USABLE),
    )
    entries = b"".join(_SEGMENT.pack(_SEGMENT.size - 4, base, length, kind) for base, length, kind in segments)
    return _INFORMATION.pack(_HAS_MEMORY_MAP, len(entries), MEMORY_MAP_GPA + _INFORMATION.size) + entries


class Jos(GuestAbi):
    """See above. Numbers that the JOS VMM names but handles in no edition (7 ALLOC_CPU, 8 GUEST_YIELD, 9 CPUNUM) are unknown."""

    name = "jos"
    extra_cr4 = _CR4_VMXE
    ends_by_halt = True
    has_host = True

    @classmethod
    def cpuid_leaves(cls, machine: Mapping[int, CpuidResult]) -> Mapping[int, CpuidResult]:
        features = machine[1]
        return {**machine, 1: features._replace(ecx=features.ecx & ~_VMX)}

    def hypercall(self, state: VcpuState, exit: Vmcall) -> int | None:
        """HypercallError for an unknown number, and for IPCRECV if there is no host to receive from."""
        call = _CALLS.get(state.rax)
        if call is None:
            self._abort(state)
            raise HypercallError(f"hypercall {state.rax:#x} is not one of the JOS VMM's: 1 to {max(_CALLS)}")
        return call(self, state)

    def halted(self, state: VcpuState) -> None:
        self.services.write(_HALTED)
        self.services.end(0)

    def _map_memory(self, state: VcpuState) -> int:
        """MBMAP: the map's address in RBX."""
        self.services.memory.write(MEMORY_MAP_GPA, memory_map(self.services.ram[-1].stop))
        state.rbx = MEMORY_MAP_GPA
        return state.rax

    def _send(self, state: VcpuState) -> int:
        """IPCSEND to the environment of type RBX: the value ECX and the page at RDX, with the permissions RSI."""
        ipc = self.services.ipc
        if ipc is None:
            return _E_INVAL & _MASK64
        return ipc.send(state.rbx, state.rcx & _MASK32, Gpa(state.rdx), state.rsi) & _MASK64

    def _receive(self, state: VcpuState) -> int | None:
        """IPCRECV: the value in RSI, zero-extended, and a page, if there comes one, at RBX. RIP moves on before the wait."""
        ipc = self.services.ipc
        if ipc is None:
            raise HypercallError("hypercall 3 (IPCRECV): there is no host environment to receive from")
        received = ipc.receive(state.index, Gpa(state.rbx))
        if received is None:
            return 0
        if not received.error:
            self.message_came(state, received.value)
        return received.error & _MASK64

    def message_came(self, state: VcpuState, value: int) -> None:
        state.rsi = value & _MASK32

    def _end_interrupt(self, state: VcpuState) -> int:
        """LAPICEOI: the interrupt was the host's, which has ended it."""
        return state.rax

    def _back_to_host(self, state: VcpuState) -> None:
        """BACKTOHOST: there is no shell to go back to but the one that started this."""
        self.services.write(_BACK_TO_HOST)
        self.services.end(0)

    def _count_guests(self, state: VcpuState) -> int:
        """GETDISKIMGNUM: which guest this is, from 1."""
        return self.services.guest_number

    def _abort(self, state: VcpuState) -> None:
        dump = (
            f"{_UNHANDLED}"
            "vmx: --- Begin VCPU Dump ---\n"
            f"vmx: RIP 0x{state.rip:016x} RSP 0x{state.rsp:016x} RFLAGS 0x{state.rflags:016x}\n"
            f"vmx: CR0 0x{state.cr0:016x} CR3 0x{state.cr3:016x}\n"
            f"vmx: CR4 0x{state.cr4:016x} \n"
            "vmx: --- End VCPU Dump ---\n"
        )
        self.services.write(dump.encode())


_CALLS: Final[dict[int, Callable[[Jos, VcpuState], int | None]]] = {
    1: Jos._map_memory,
    2: Jos._send,
    3: Jos._receive,
    4: Jos._end_interrupt,
    5: Jos._back_to_host,
    6: Jos._count_guests,
}
