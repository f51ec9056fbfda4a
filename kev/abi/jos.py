"""The ABI of the JOS VMM: VMCALL from CPL 0 and 3, numbers in RAX.

1 MBMAP asks for the memory map, 2 IPCSEND and 3 IPCRECV exchange messages with environments of the host, 4 LAPICEOI ends an
interrupt, 5 BACKTOHOST leaves the guest, 6 GETDISKIMGNUM asks how many guests there have been. CPUID shows no VMX and no
hypervisor, but the guest may set CR4.VMXE. HLT with interrupts off is its way to shut down.

The host's timer interrupts the guest, too, as vector 32: guests program none of their own. What the JOS VMM does not handle ends
the guest with a dump of its registers: any other hypercall, MSRs but EFER, guest-physical addresses that are neither RAM nor the
first page of VGA text, registers of the CMOS memory but those that say how much RAM there is, and triple faults.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn

from kev.abi.base import Controller, GuestAbi, HypercallError, Services, UnhandledExit
from kev.abi.jos_cmos import PORTS, JosCmos
from kev.addressing import KIB, MIB, Gpa, page_floor
from kev.dev.base import Device
from kev.dev.interrupts.local_apic.registers import (
    DIVIDE_CONFIGURATION,
    END_OF_INTERRUPT,
    INITIAL_COUNT,
    LVT_TIMER,
    SPURIOUS_VECTOR,
)
from kev.engine.base import VcpuState
from kev.exits import Access, CpuidResult, EptViolation, IoIn, IoOut, Rdmsr, Reply, TripleFault, Vmcall, Wrmsr
from kev.x86 import CR4_VMXE

MEMORY_MAP_GPA: Final = Gpa(0x6000)
"""Where MBMAP writes the memory map."""

_MASK32: Final = 0xFFFF_FFFF
_MASK64: Final = 0xFFFF_FFFF_FFFF_FFFF
_E_INVAL: Final = -3

_VMX: Final = 1 << 5
"""Of CPUID leaf 1, ECX."""

_INFORMATION: Final = struct.Struct("<I40xII")
"""Multiboot 1 information up to mmap_addr: flags, mmap_length, mmap_addr."""
_HAS_MEMORY_MAP: Final = 1 << 6
_SEGMENT: Final = struct.Struct("<IQQI")
"""An entry of the memory map: its size without this field, base, length, type."""
_USABLE, _RESERVED = 1, 2
_BASE_MEMORY_END: Final = 640 * KIB

_VGA_TEXT: Final = 0xB8000
"""The page that guests share with the host."""

_TIMER: Final = {
    SPURIOUS_VECTOR: 0x127,  # enabled; vector 39
    DIVIDE_CONFIGURATION: 0xB,  # by 1
    LVT_TIMER: 1 << 17 | 32,  # periodic; vector 32
    INITIAL_COUNT: 10_000_000,
}
"""What JOS writes to its local APIC (kern/lapic.c): 100 interrupts a second where the bus runs at 1 GHz, as QEMU's does, and the
one here."""

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
    extra_cr4 = CR4_VMXE
    apic = _TIMER
    sees_msrs = True
    ends_by_halt = True
    has_host = True

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._cmos: Final = JosCmos(services.ram[-1].stop)

    @classmethod
    def cpuid_leaves(cls, machine: Mapping[int, CpuidResult]) -> Mapping[int, CpuidResult]:
        features = machine[1]
        return {**machine, 1: features._replace(ecx=features.ecx & ~_VMX)}

    def devices(self) -> Sequence[Device]:
        return (self._cmos,)

    def hypercall(self, state: VcpuState, exit: Vmcall) -> int | None:
        """UnhandledExit for an unknown number; HypercallError for IPCRECV if there is no host to receive from."""
        call = _CALLS.get(state.rax)
        if call is None:
            self._abort(state, f"hypercall {state.rax:#x} is not one of the JOS VMM's: 1 to {max(_CALLS)}")
        return call(self, state)

    def controllers(self, machine: Mapping[type, Controller]) -> Mapping[type, Controller]:
        violation, read_port, write_port = machine[EptViolation], machine[IoIn], machine[IoOut]
        ram = self.services.ram

        def handle_violation(state: VcpuState, exit: EptViolation) -> Reply | None:
            gpa = exit.gpa
            is_memory = not _BASE_MEMORY_END <= gpa < MIB and any(gpa in region for region in ram)
            if not is_memory and page_floor(gpa) != _VGA_TEXT:
                self.services.write(b"vmm: handle_eptviolation: Case 2, gpa %x\n" % (gpa & _MASK32))
                self._abort(state, f"gpa {gpa:#x} is not memory of a guest of the JOS VMM")
            if exit.access & Access.WRITE and self._is_read_only(page_floor(gpa)):
                self._abort(state, f"gpa {gpa:#x}: the page was sent without the permission to write to it")
            return violation(state, exit)

        def handle_in(state: VcpuState, exit: IoIn) -> Reply | None:
            return self._read_cmos(state, exit) if exit.port in PORTS else read_port(state, exit)

        def handle_out(state: VcpuState, exit: IoOut) -> Reply | None:
            return self._write_cmos(state, exit) if exit.port in PORTS else write_port(state, exit)

        return {
            EptViolation: handle_violation,
            IoIn: handle_in,
            IoOut: handle_out,
            Rdmsr: self._refuse_msr,
            Wrmsr: self._refuse_msr,
            TripleFault: self._dump,
        }

    def halted(self, state: VcpuState) -> None:
        self.services.write(_HALTED)
        self.services.end(0)

    def _is_read_only(self, page: int) -> bool:
        ipc = self.services.ipc
        return ipc is not None and ipc.is_read_only(Gpa(page))

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
        """LAPICEOI: the interrupt came through the host's local APIC, which has to hear of its end."""
        self.services.write_apic(END_OF_INTERRUPT, 0)
        return state.rax

    def _back_to_host(self, state: VcpuState) -> int | None:
        """BACKTOHOST: a host of several guests goes on without this one. Else there is only the shell that started this."""
        self.services.write(_BACK_TO_HOST)
        ipc = self.services.ipc
        if ipc is not None and ipc.back_to_host():
            return state.rax
        self.services.end(0)
        return None

    def _count_guests(self, state: VcpuState) -> int:
        """GETDISKIMGNUM: which guest this is, from 1."""
        return self.services.guest_number

    def _read_cmos(self, state: VcpuState, exit: IoIn) -> int:
        value = self._cmos.read(exit.port)
        if value is None:
            self.services.write(self._cmos.complaint(exit))
            self._abort(state, f"the JOS VMM has nothing to read from port {exit.port:#x} at index {self._cmos.index:#x}")
        return value

    def _write_cmos(self, state: VcpuState, exit: IoOut) -> int:
        if not self._cmos.write(exit.port, exit.value):
            self.services.write(self._cmos.complaint(exit))
            self._abort(state, f"the JOS VMM takes nothing that is written to port {exit.port:#x}")
        return 0

    def _refuse_msr(self, state: VcpuState, exit: Rdmsr | Wrmsr) -> None:
        self._abort(state, f"the JOS VMM handles no MSR but EFER: {type(exit).__name__.upper()} of {exit.index:#x}")

    def _abort(self, state: VcpuState, why: str) -> NoReturn:
        """Prints what the JOS VMM does of an exit that it does not handle. UnhandledExit, with `why`."""
        self._dump(state)
        raise UnhandledExit(why)

    def _dump(self, state: VcpuState, exit: TripleFault | None = None) -> None:
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
