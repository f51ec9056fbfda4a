"""One vCPU's registers, wherever they are: in the CPU while it is the current one, else in its saved context."""

from typing import TYPE_CHECKING, Final

from kev.engine.amdv import layout
from kev.engine.amdv.flags import ARITHMETIC, CC_OP_EFLAGS
from kev.engine.amdv.libunicorn import Context
from kev.engine.base import SegmentRegister
from kev.exits import GuestException

if TYPE_CHECKING:
    from kev.engine.amdv.engine import AmdvEngine

_CONTEXT_HEADER: Final = 40  # bytes of a saved context before the CPU state

ES, CS, SS, DS, FS, GS, LDTR, TR, GDTR, IDTR = range(10)
"""Indices of the segment registers in the CPU state."""

# Internal flags that the CPU derives from the state.
HFLAGS_CPL: Final = 3
HFLAGS_INHIBIT_IRQ: Final = 1 << 3
HFLAGS_LMA: Final = 1 << 14
HFLAGS_CS64: Final = 1 << 15
HFLAGS_IO_BREAKPOINTS: Final = 1 << 24

_HFLAGS2_NMI_BLOCKED: Final = 1 << 2

RFLAGS_TF: Final = 1 << 8
RFLAGS_IF: Final = 1 << 9
_DF: Final = 1 << 10

CR0_PE: Final = 1
_DR7_ENABLES: Final = 0xFF


class _StateRegister:
    """A 64-bit register at a fixed offset of the CPU state."""

    __slots__ = ("_index",)

    def __init__(self, offset: int) -> None:
        self._index = offset >> 3

    def __get__(self, vcpu: "AmdvVcpu", _owner: type | None = None) -> int:
        return vcpu.quads[self._index]

    def __set__(self, vcpu: "AmdvVcpu", value: int) -> None:
        vcpu.quads[self._index] = value & 0xFFFF_FFFF_FFFF_FFFF


class Event:
    """An exception or software interrupt on its way through the guest's IDT."""

    __slots__ = ("exception", "instruction_length")

    def __init__(self, exception: GuestException, instruction_length: int = 0) -> None:
        """`instruction_length` of a software interrupt: RIP goes back by so much if its delivery faults."""
        self.exception: Final = exception
        self.instruction_length: Final = instruction_length


class AmdvVcpu:
    """A vCPU of `AmdvEngine`; see `kev.engine.base.VcpuState`."""

    rax = _StateRegister(layout.GENERAL_REGISTERS)
    rcx = _StateRegister(layout.GENERAL_REGISTERS + 8)
    rdx = _StateRegister(layout.GENERAL_REGISTERS + 16)
    rbx = _StateRegister(layout.GENERAL_REGISTERS + 24)
    rsp = _StateRegister(layout.GENERAL_REGISTERS + 32)
    rbp = _StateRegister(layout.GENERAL_REGISTERS + 40)
    rsi = _StateRegister(layout.GENERAL_REGISTERS + 48)
    rdi = _StateRegister(layout.GENERAL_REGISTERS + 56)
    r8 = _StateRegister(layout.GENERAL_REGISTERS + 64)
    r9 = _StateRegister(layout.GENERAL_REGISTERS + 72)
    r10 = _StateRegister(layout.GENERAL_REGISTERS + 80)
    r11 = _StateRegister(layout.GENERAL_REGISTERS + 88)
    r12 = _StateRegister(layout.GENERAL_REGISTERS + 96)
    r13 = _StateRegister(layout.GENERAL_REGISTERS + 104)
    r14 = _StateRegister(layout.GENERAL_REGISTERS + 112)
    r15 = _StateRegister(layout.GENERAL_REGISTERS + 120)
    rip = _StateRegister(layout.RIP)
    cr0 = _StateRegister(layout.CONTROL_REGISTERS)
    cr2 = _StateRegister(layout.CONTROL_REGISTERS + 16)
    cr3 = _StateRegister(layout.CONTROL_REGISTERS + 24)
    cr4 = _StateRegister(layout.CONTROL_REGISTERS + 32)

    def __init__(self, index: int, context: Context, engine: "AmdvEngine") -> None:
        self.index: Final = index
        self.context: Final = context
        self._engine = engine
        self._saved = layout.view(context.address + _CONTEXT_HEADER, layout.SIZE)
        self.instructions = 0
        self.event: Event | None = None
        """What has to be delivered before the next instruction."""
        self.unpushed: GuestException | None = None
        """An exception that was delivered but for its error code, which has to be pushed before the next instruction."""
        self.interrupt: int | None = None
        """The external interrupt that waits for RFLAGS.IF."""
        self.interrupt_taken: int | None = None
        self.nmi = False
        self.attach(self._saved.cast("Q"), self._saved.cast("I"))

    def attach(self, quads: memoryview, words: memoryview) -> None:
        """Says where the registers are from now on."""
        self.quads = quads
        self.words = words

    def detach(self) -> None:
        """The registers are in the saved context from now on."""
        self.attach(self._saved.cast("Q"), self._saved.cast("I"))

    @property
    def efer(self) -> int:
        """Without SVME, which is the hypervisor's."""
        return self.quads[layout.EFER >> 3] & ~(1 << 12)

    @property
    def breakpoints_armed(self) -> bool:
        """DR7 enables one of the four."""
        return bool(self.quads[(layout.DEBUG_REGISTERS >> 3) + 7] & _DR7_ENABLES)

    @property
    def cpl(self) -> int:
        return self.words[layout.HFLAGS >> 2] & HFLAGS_CPL

    @property
    def rflags(self) -> int:
        return self._engine.read_rflags(self)

    @property
    def interrupts_enabled(self) -> bool:
        """RFLAGS.IF."""
        return bool(self.words[layout.RFLAGS >> 2] & RFLAGS_IF)

    @property
    def nmi_blocked(self) -> bool:
        """An NMI has been taken, and no IRET since."""
        return bool(self.words[layout.HFLAGS2 >> 2] & _HFLAGS2_NMI_BLOCKED)

    @nmi_blocked.setter
    def nmi_blocked(self, blocked: bool) -> None:
        flags = self.words[layout.HFLAGS2 >> 2] & ~_HFLAGS2_NMI_BLOCKED
        self.words[layout.HFLAGS2 >> 2] = flags | (_HFLAGS2_NMI_BLOCKED if blocked else 0)

    @property
    def long_mode(self) -> bool:
        """EFER.LMA: 64-bit or compatibility mode."""
        return bool(self.words[layout.HFLAGS >> 2] & HFLAGS_LMA)

    @property
    def in_64_bit_mode(self) -> bool:
        return bool(self.words[layout.HFLAGS >> 2] & HFLAGS_CS64)

    @property
    def protected_mode(self) -> bool:
        return bool(self.quads[layout.CONTROL_REGISTERS >> 3] & CR0_PE)

    @property
    def cs(self) -> SegmentRegister:
        return self.segment(CS)

    def segment(self, number: int) -> SegmentRegister:
        selector, base, limit, flags = self.raw_segment(number)
        return SegmentRegister(selector & 0xFFFF, base, limit, flags >> 8 & 0xF0FF)

    def raw_segment(self, number: int) -> tuple[int, int, int, int]:
        """Selector, base, limit and the descriptor's second word, as the CPU keeps them."""
        words = self.words
        at = (layout.SEGMENTS >> 2) + 6 * number
        return words[at], words[at + 2] | words[at + 3] << 32, words[at + 4], words[at + 5]

    def set_segment(self, number: int, selector: int, base: int, limit: int, flags: int) -> None:
        words = self.words
        at = (layout.SEGMENTS >> 2) + 6 * number
        words[at] = selector
        words[at + 2] = base & 0xFFFF_FFFF
        words[at + 3] = base >> 32
        words[at + 4] = limit
        words[at + 5] = flags

    def set_rflags(self, value: int) -> None:
        """Stores RFLAGS the way the CPU keeps them: arithmetic flags and DF apart from the rest."""
        quads, words = self.quads, self.words
        quads[layout.RFLAGS >> 3] = value & ~(ARITHMETIC | _DF) | 2
        quads[layout.CC_DST >> 3] = 0
        quads[layout.CC_SRC >> 3] = value & ARITHMETIC
        quads[layout.CC_SRC2 >> 3] = 0
        words[layout.CC_OP >> 2] = CC_OP_EFLAGS
        words[layout.DF >> 2] = 0xFFFF_FFFF if value & _DF else 1

    def skip(self, length: int) -> None:
        """Moves RIP past an instruction that was emulated: interrupts are no longer held back, and a single step ends here."""
        words = self.words
        words[layout.HFLAGS >> 2] &= ~HFLAGS_INHIBIT_IRQ
        rip = self.quads[layout.RIP >> 3] + length
        self.quads[layout.RIP >> 3] = rip if words[layout.HFLAGS >> 2] & HFLAGS_CS64 else rip & 0xFFFF_FFFF
        if words[layout.RFLAGS >> 2] & RFLAGS_TF and self.event is None:
            self.quads[(layout.DEBUG_REGISTERS >> 3) + 6] |= 1 << 14
            self.event = Event(GuestException(1))
