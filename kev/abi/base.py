"""What a guest ABI is: how a guest talks to the hypervisor that it is made for, and what it is shown of it.

An ABI owns hypercall numbers and registers, the answer to a number that it does not know, the hypervisor's CPUID leaves,
paravirtual MSRs, the system calls that the hypervisor can serve, what HLT with interrupts off means, and which logs its hypervisor
keeps. `kev.abi.selection` finds the ABI of a guest.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol, TypeAlias

from kev.addressing import Gpa, Gva
from kev.clock import Clock
from kev.dev.base import Device, GuestMemory
from kev.dev.clocks.time_stamp_counter import TimeStampCounters
from kev.dev.interrupts.local_apic.message import InterruptMessage
from kev.engine.base import EntryState, VcpuState
from kev.errors import KevError
from kev.exits import CpuidResult, EptViolation, Reply, Vmcall
from kev.named_tuple import NamedTuple

MARK: Final = 0x6B65_7600
"""The number of KeV's hypercall that says where a guest begins with what race tests are about: "kev" and 0."""


Controller: TypeAlias = Callable[[VcpuState, Any], Reply | None]
"""Finishes one kind of exit, or returns None to end the slice."""


class HypercallError(KevError):
    """A hypercall that ends the run, because it does not exist in this ABI or cannot be carried out."""


class UnhandledExit(KevError):
    """An exit that the ABI's hypervisor does not handle: it ends the guest."""


class Received(Protocol):
    """What came of waiting for a message."""

    @property
    def error(self) -> int:
        """0, or a negative error of JOS: then there is no message."""

    @property
    def value(self) -> int: ...


class Ipc(Protocol):
    """The host's environments, to which a guest sends messages, and from which it receives some.

    `send` and `receive` raise PageAbsent before anything has changed.
    """

    def send(self, destination: int, value: int, page: Gpa, permissions: int) -> int:
        """Sends `value` and the guest's page to the environment of type `destination`: 0, or a negative error of JOS."""

    def receive(self, vcpu: int, page: Gpa) -> Received | None:
        """What has been sent to the guest, with its page at `page`.

        None if nothing has come yet: vCPU number `vcpu` stops behind the hypercall, and `GuestAbi.message_came` finishes it later.
        """

    def back_to_host(self) -> bool:
        """The guest leaves the processor to its host, which may let it go on behind the hypercall; False if that never does."""

    def is_read_only(self, page: Gpa) -> bool:
        """The guest was sent the page there, without the permission to write to it."""


class Services(NamedTuple):
    """What an ABI may use of its machine."""

    end: Callable[[int], None]
    """Ends the run with an exit code."""
    write: Callable[[bytes], None]
    """Prints on the console."""
    memory: GuestMemory
    read_virtual: Callable[[VcpuState, Gva, int], bytes]
    """The bytes at a guest-virtual address of a vCPU. DeviceError where the guest maps nothing; PageAbsent as `memory`."""
    ram: Sequence[range]
    """The guest-physical addresses of RAM."""
    clock: Clock
    counters: TimeStampCounters
    """As many as there are vCPUs."""
    boot_time: int
    """In seconds since 1970."""
    send_interrupt: Callable[[InterruptMessage], bool]
    """Sends a message to the local APICs; says whether there was one that takes it."""
    write_apic: Callable[[int, int], None] = lambda register, value: None
    """Writes a register of vCPU 0's local APIC, by its offset in the page of registers."""
    guest_number: int = 1
    """Which guest of its host this is, from 1."""
    ipc: Ipc | None = None
    """None if the host has no environments."""


class GuestAbi(ABC):
    """One guest's side of an ABI. `hypercall` is the controller of the guest's VMCALL exits."""

    name: ClassVar[str]
    """As `--abi` has it: the name of the module in `kev.abi`."""
    extra_cr4: ClassVar[int] = 0
    """Bits of CR4 that the guest may set, besides those that CPUID announces. They have no effect."""
    sees_msrs: ClassVar[bool] = False
    """RDMSR and WRMSR exit for every MSR but EFER, also for those that processors keep themselves."""
    ends_by_halt: ClassVar[bool] = False
    """A guest shuts down by HLT with interrupts off, of which `halted` is told. Others wait for an NMI or INIT then."""
    handles_violations: ClassVar[bool] = False
    """`violated` is told of EPT violations where there is neither memory nor a device."""
    handles_init: ClassVar[bool] = False
    """INIT for vCPU 0 exits, as under VMX, instead of resetting the processor: `initialized` is told."""
    has_host: ClassVar[bool] = False
    """The ABI's hypervisor has environments of its own: the machine is given an `Ipc`."""
    apic: ClassVar[Mapping[int, int]] = {}
    """What its hypervisor has written to the registers of vCPU 0's local APIC, by their offsets, before the guest begins."""
    logs: ClassVar[Sequence[str]] = ()
    """What the ABI's hypervisor logs of its guests without being asked: names of logs, such as "cr3"."""
    serves_system_calls: ClassVar[bool] = False
    """The ABI has system calls, too: see `system_call`."""

    def __init__(self, services: Services) -> None:
        self.services: Final = services

    @classmethod
    def cpuid_leaves(cls, machine: Mapping[int, CpuidResult]) -> Mapping[int, CpuidResult]:
        """The CPUID leaves that the guest sees, of those that the machine has: by default, the same and no hypervisor."""
        return machine

    def own_leaves(self) -> Mapping[int, Callable[[VcpuState], CpuidResult]]:
        """CPUID leaves that are answered by the registers that a vCPU has when it asks; they come before `cpuid_leaves`."""
        return {}

    @classmethod
    def entry(cls, protocol: str, state: EntryState) -> EntryState:
        """How the hypervisor enters a kernel that is booted by the protocol of this name: by default, as that does."""
        return state

    def devices(self) -> Sequence[Device]:
        """The ABI's own: those behind its MSRs, and what else has a state that is saved. Called once."""
        return ()

    def controllers(self, machine: Mapping[type, Controller]) -> Mapping[type, Controller]:
        """What finishes exits that the ABI's hypervisor treats in a way of its own, by kind, where `machine` has the machine's.

        What finishes a `TripleFault` is told of it; the guest ends.
        """
        return {}

    @abstractmethod
    def hypercall(self, state: VcpuState, exit: Vmcall) -> Reply | None:
        """Carries out the hypercall in the registers of a vCPU. The reply is the new RAX; other registers are set in `state`.

        None ends the slice before the instruction is finished: it is executed again if the run has not ended. PageAbsent, raised
        before anything was changed, has it repeated when the page is there. HypercallError ends the run.
        """

    def message_came(self, state: VcpuState, value: int) -> None:
        """What a vCPU that was stopped by `Ipc.receive` has waited for; it goes on behind the hypercall."""
        raise NotImplementedError

    def halted(self, state: VcpuState) -> None:
        """A vCPU has executed HLT with interrupts off, and the ABI says `ends_by_halt`."""
        raise NotImplementedError

    def initialized(self, state: VcpuState) -> None:
        """INIT has come to vCPU 0, and the ABI says `handles_init`."""
        raise NotImplementedError

    def violated(self, state: VcpuState, exit: EptViolation) -> None:
        """A vCPU has touched what is neither memory nor a device, and the ABI says `handles_violations`.

        HypercallError ends the run; else it goes on as without this.
        """
        raise NotImplementedError

    def system_call(self, state: VcpuState) -> int | None:
        """Carries out the SYSCALL of a program at CPL 3, if the hypervisor is to, and the ABI says `serves_system_calls`.

        The reply is the new RAX; None and exceptions as of `hypercall`.
        """
        raise NotImplementedError
