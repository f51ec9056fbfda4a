"""The exits a vCPU can stop with, as data, and the replies that finish them.

The names are Intel's (SDM vol. 3, appendix C, "VMX basic exit reasons"), whatever engine produced the exit.
"""

from enum import IntFlag
from typing import Final, TypeAlias

from kev import x86
from kev.addressing import Gpa, Gva
from kev.named_tuple import NamedTuple


class Access(IntFlag):
    """What a vCPU wanted of a page; the bits are those of an EPT violation's exit qualification (SDM table 28-7)."""

    READ = 1
    WRITE = 2
    EXECUTE = 4


class _Bare:
    """An exit that says nothing but its kind."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class EptViolation(NamedTuple):
    """A guest-physical address that the nested page tables do not map, or not for this kind of access."""

    gpa: Gpa
    access: Access
    present: bool = False
    """The page is mapped, but not for this access."""


class IoIn(NamedTuple):
    """IN, or one iteration of INS, or more: see `Engine.find_iterations`. Reply: the value, `size` bytes of it."""

    port: int
    size: int
    """1, 2 or 4 bytes."""


class IoOut(NamedTuple):
    """OUT, or one iteration of OUTS, or more."""

    port: int
    size: int
    value: int


class MmioRead(NamedTuple):
    """A load from a page that a device stands behind. Reply: the value, `size` bytes of it."""

    gpa: Gpa
    size: int


class MmioWrite(NamedTuple):
    """A store to a page that a device stands behind."""

    gpa: Gpa
    size: int
    value: int


class Cpuid(NamedTuple):
    """CPUID. Reply: a `CpuidResult`."""

    leaf: int
    subleaf: int


class Rdmsr(NamedTuple):
    """RDMSR. Reply: the 64-bit value."""

    index: int  # type: ignore[assignment]


class Wrmsr(NamedTuple):
    """WRMSR. `value` is EDX:EAX; the high halves of the registers do not count."""

    index: int  # type: ignore[assignment]
    value: int


class Rdtsc(_Bare):
    """RDTSC or RDTSCP. Reply: the time-stamp counter."""

    __slots__ = ()


class Vmcall(_Bare):
    """A hypercall: Intel's VMCALL or AMD's VMMCALL. Number and arguments are in the vCPU's registers. Reply: the new RAX."""

    __slots__ = ()


class InvalidOpcode(_Bare):
    """#UD of an instruction, where the machine wants to see them (Intel: the exception bitmap's bit 6).

    RIP is on the instruction. Reply: 0 if the machine has carried it out instead, which may have changed general registers, RFLAGS,
    CS, SS and, past the instruction, RIP; or `INVALID_OPCODE`.
    """

    __slots__ = ()


class Hlt(_Bare):
    """HLT. Never finished on the spot: the vCPU waits for an interrupt."""

    __slots__ = ()


class Pause(_Bare):
    """PAUSE in a spinning vCPU."""

    __slots__ = ()


class CrAccess(NamedTuple):
    """MOV to or from a control register that the machine has a part in. Reply: what is read."""

    register: int
    """8, the task priority; or 3, if the machine wants to see it written."""
    value: int | None
    """What is written; None for a read."""


class TripleFault(NamedTuple):
    """An exception that could not be delivered, nor the double fault after it."""

    vector: int | None
    """The exception it began with, where the engine knows."""


class PreemptionTimer(_Bare):
    """The budget of the slice is used up (Intel: "VMX-preemption timer expired"). Nothing to finish."""


class Breakpoint(NamedTuple):
    """A vCPU is about to execute the instruction at a breakpoint of `Engine.set_breakpoints`. RIP is on it. Nothing to finish."""

    gva: Gva
    """Its linear address: the code segment's base and RIP."""


class Watchpoint(NamedTuple):
    """A vCPU has accessed memory that is watched by `Engine.set_watchpoints`. Nothing to finish.

    The access is done, and so is the instruction: RIP is past it, or on it if a repeated string instruction has iterations left.
    If an interrupt or exception followed at once, RIP is on its handler.
    """

    gva: Gva
    """The lowest watched address of the access."""
    size: int
    """Of the access, in bytes, as the CPU made it; one of 16 bytes is made in two parts."""
    access: Access
    """READ or WRITE, whichever came first."""


Exit: TypeAlias = (
    EptViolation
    | IoIn
    | IoOut
    | MmioRead
    | MmioWrite
    | Cpuid
    | Rdmsr
    | Wrmsr
    | Rdtsc
    | Vmcall
    | InvalidOpcode
    | Hlt
    | Pause
    | CrAccess
    | TripleFault
    | PreemptionTimer
    | Breakpoint
    | Watchpoint
)


class CpuidResult(NamedTuple):
    """The four registers of a CPUID leaf, 32 bits each."""

    eax: int
    ebx: int
    ecx: int
    edx: int


class GuestException(NamedTuple):
    """An exception to deliver to the guest instead of finishing its instruction."""

    vector: int
    error_code: int | None = None
    address: Gva | None = None
    """What CR2 becomes, for a page fault."""


GENERAL_PROTECTION: Final = GuestException(x86.GENERAL_PROTECTION, 0)
INVALID_OPCODE: Final = GuestException(x86.INVALID_OPCODE)

Reply: TypeAlias = int | CpuidResult | GuestException
"""What finishes an exit. An int is what the instruction reads (0 where it reads nothing)."""
