"""What a vCPU holds besides its general registers, as data."""

from typing import Final

from kev import x86
from kev.exits import GuestException
from kev.named_tuple import NamedTuple


class SegmentRegister(NamedTuple):
    """A segment register with its hidden part (Intel SDM vol. 3, "Segment registers")."""

    selector: int
    base: int
    limit: int
    """The last valid offset, in bytes, granularity already applied."""
    access: int
    """Bits 40-47 of the descriptor in 0-7, bits 52-55 in 12-15: the format of Intel's VMCS access rights."""


GENERAL: Final = (
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
)
"""The general registers, in the order in which people read them."""
SEGMENTS: Final = ("es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr")
"""The names of the segment registers."""


class DescriptorTable(NamedTuple):
    """GDTR or IDTR."""

    base: int
    limit: int
    """The last valid offset, in bytes."""


class FpuState(NamedTuple):
    """The registers of x87 and SSE, as FXSAVE stores them (Intel SDM vol. 1, "x87 FPU programming"; vol. 2, "FXSAVE")."""

    fcw: int = 0x37F
    """Control word, 16 bits."""
    fsw: int = 0
    """Status word, 16 bits, with the top of the stack in bits 11-13."""
    ftw: int = 0xFFFF
    """Tag word as FNSTENV stores it, 16 bits: two for each physical register, 3 if it is empty.

    When it is written, nothing but which registers are empty counts.
    """
    fop: int = 0
    """Opcode of the last x87 instruction, 11 bits."""
    fcs: int = 0
    fip: int = 0
    """Its address: selector and offset."""
    fds: int = 0
    fdp: int = 0
    """The address of its operand: selector and offset."""
    st: tuple[bytes, ...] = (bytes(10),) * 8
    """ST(0) to ST(7), 10 bytes each, little-endian."""
    xmm: tuple[int, ...] = (0,) * 16
    """XMM0 to XMM15, 128 bits each."""
    mxcsr: int = 0x1F80


class PendingEvents(NamedTuple):
    """What a vCPU has to be given before its next instruction, and what holds interrupts back.

    The external interrupt that waits for it is not among them: the interrupt controller offers that (`Engine.raise_interrupt`).
    """

    exception: GuestException | None = None
    """An exception or software interrupt that has not been delivered."""
    instruction_length: int = 0
    """Of the instruction that the software interrupt comes from, in bytes; 0 if it is an exception."""
    unpushed: GuestException | None = None
    """An exception whose handler has been entered, but for the error code on its stack."""
    nmi: bool = False
    """An NMI waits."""
    nmi_blocked: bool = False
    """An NMI has been taken, and no IRET since."""
    interrupt_shadow: bool = False
    """STI or MOV SS was the last instruction: the next one is executed before any interrupt."""


class RaisedEvent(NamedTuple):
    """An exception, software interrupt or interrupt of a vCPU."""

    vector: int
    error_code: int | None
    """None where there is none."""
    address: int | None
    """CR2, of a page fault."""
    rip: int | None
    """The instruction that faulted, or the one behind a trap or INT; None for an interrupt, which the CPU takes by itself."""
    instructions: int
    """`VcpuState.instructions` at that moment; for an interrupt, when it was noticed."""
    by_int: bool = False
    """It came of INT with its vector, which may be that of an exception; not of INT1, INT3 and INTO."""


HISTORY_LENGTH: Final = 16
"""How many events a vCPU remembers."""

MSRS: Final = (
    x86.MSR_SYSENTER_CS,
    x86.MSR_SYSENTER_ESP,
    x86.MSR_SYSENTER_EIP,
    x86.MSR_PAT,
    x86.MSR_STAR,
    x86.MSR_LSTAR,
    x86.MSR_CSTAR,
    x86.MSR_SFMASK,
    x86.MSR_KERNEL_GS_BASE,
    x86.MSR_TSC_AUX,
)
"""The model-specific registers that every engine keeps, besides EFER and the bases of FS and GS."""
