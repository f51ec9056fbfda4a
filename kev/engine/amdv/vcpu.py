"""One vCPU's registers, wherever they are: in the CPU while it is the current one, else in its saved context."""

from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from typing import Final, Protocol, TypeAlias

from kev import x86
from kev.engine.amdv import fpu, layout
from kev.engine.amdv.flags import CC_OP_EFLAGS
from kev.engine.amdv.libunicorn import Context
from kev.engine.registers import HISTORY_LENGTH, SEGMENTS, DescriptorTable, FpuState, PendingEvents, RaisedEvent, SegmentRegister
from kev.exits import Access, GuestException
from kev.named_tuple import NamedTuple

_RaisedEvent: TypeAlias = tuple[int, int | None, int | None, int | None, int, bool]
"""The fields of a `RaisedEvent`, which takes longer to make."""

_CONTEXT_HEADER: Final = 40  # bytes of a saved context before the CPU state

ES, CS, SS, DS, FS, GS, LDTR, TR, GDTR, IDTR = range(10)
"""Indices of the segment registers in the CPU state."""
_CS_BASE: Final = (layout.SEGMENTS >> 2) + 6 * CS + 2

# Internal flags that the CPU derives from the state.
HFLAGS_CPL: Final = 3
HFLAGS_INHIBIT_IRQ: Final = 1 << 3
HFLAGS_CS32: Final = 1 << 4
HFLAGS_SS32: Final = 1 << 5
HFLAGS_ADDSEG: Final = 1 << 6
_HFLAGS_OF_SEGMENTS: Final = HFLAGS_CPL | HFLAGS_CS32 | HFLAGS_SS32 | HFLAGS_ADDSEG
HFLAGS_LMA: Final = 1 << 14
HFLAGS_CS64: Final = 1 << 15
_HFLAGS_GUEST: Final = 1 << 21
HFLAGS_OSFXSR: Final = 1 << 22
HFLAGS_SMAP: Final = 1 << 23
HFLAGS_IO_BREAKPOINTS: Final = 1 << 24

_HFLAGS2_NMI_BLOCKED: Final = 1 << 2
_HFLAGS2_VIRTUAL_IF: Final = 1 << 3
_CR2: Final = (layout.CONTROL_REGISTERS >> 3) + 2

# In a descriptor's second word.
LONG_CODE: Final = 1 << 21
_BIG: Final = 1 << 22
_DPL_SHIFT: Final = 13
USER_SEGMENT: Final = 3 << _DPL_SHIFT
"""DPL 3."""

_MSRS: Final = {
    x86.MSR_SYSENTER_CS: layout.SYSENTER_CS,
    x86.MSR_SYSENTER_ESP: layout.SYSENTER_ESP,
    x86.MSR_SYSENTER_EIP: layout.SYSENTER_EIP,
    x86.MSR_PAT: layout.PAT,
    x86.MSR_STAR: layout.STAR,
    x86.MSR_LSTAR: layout.LSTAR,
    x86.MSR_CSTAR: layout.CSTAR,
    x86.MSR_SFMASK: layout.FMASK,
    x86.MSR_KERNEL_GS_BASE: layout.KERNEL_GS_BASE,
    x86.MSR_TSC_AUX: layout.TSC_AUX,
}
"""Where the CPU keeps them, 64 bits each."""


class _StateRegister:
    """A 64-bit register at a fixed offset of the CPU state."""

    __slots__ = ("_index",)

    def __init__(self, offset: int) -> None:
        self._index = offset >> 3

    def __get__(self, vcpu: "AmdvVcpu", _owner: type | None = None) -> int:
        return vcpu.quads[self._index]

    def __set__(self, vcpu: "AmdvVcpu", value: int) -> None:
        vcpu.quads[self._index] = value & 0xFFFF_FFFF_FFFF_FFFF


class _DerivedFrom(_StateRegister):
    """One that the CPU derives others from when it is loaded."""

    __slots__ = ()

    def __set__(self, vcpu: "AmdvVcpu", value: int) -> None:
        super().__set__(vcpu, value)
        vcpu.is_edited = True


class _DebugRegister(_StateRegister):
    """One of those that say where breakpoints of the guest are: the CPU keeps them a second time."""

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        super().__init__(layout.DEBUG_REGISTERS + 8 * number)
        self._number = number

    def __set__(self, vcpu: "AmdvVcpu", value: int) -> None:
        vcpu.write_debug_register(self._number, value)


_OF_THEIR_OWN: Final = frozenset({x86.DEBUG, x86.BREAKPOINT, x86.OVERFLOW})
"""Exceptions that instructions are for."""


class Event:
    """An exception or software interrupt on its way through the guest's IDT."""

    __slots__ = ("exception", "instruction_length", "noted")

    def __init__(self, exception: GuestException, instruction_length: int = 0) -> None:
        """`instruction_length` of a software interrupt: RIP goes back by so much if its delivery faults."""
        self.exception: Final = exception
        self.instruction_length: Final = instruction_length
        self.noted = False
        """It is in the vCPU's history."""


class SavedVcpu(NamedTuple):
    """A vCPU between two slices."""

    structures: tuple[int, ...]
    """Where its host had what the registers refer to."""
    registers: bytes
    """The CPU state."""
    armed: int
    """DR7, if it enables a breakpoint; else 0."""
    fields: tuple[object, ...]
    """The values of `_FIELDS`."""
    event: tuple[GuestException, int, bool] | None
    """The exception, instruction length and `noted` of the event to be delivered."""
    history: tuple[_RaisedEvent, ...]


_FIELDS: Final = (
    "instructions",
    "unpushed",
    "interrupt",
    "interrupt_taken",
    "nmi",
    "second_nmi",
    "is_edited",
    "breakpoint",
    "held_data_hits",
    "shows_rf",
    "random_numbers",
)
_read_fields: Final = attrgetter(*_FIELDS)
_DR7: Final = (layout.DEBUG_REGISTERS >> 3) + 7
_BREAKPOINTS: Final = slice((layout.DEBUG_REGISTERS >> 3) + 8, layout.OLD_EXCEPTION >> 3)
"""Pointers of the CPU's to the breakpoints that are armed."""
_PRESENT: Final = 1 << 15
_TSS_16: Final = 0x1 << 8
_TSS_32: Final = 0x9 << 8
_BUSY: Final = 0x2 << 8
_TSS_KINDS: Final = 0x1F << 8
"""In the second word of a descriptor: whether it is one of the system's, and of which type."""
_NO_BREAKPOINTS: Final = memoryview(bytes(layout.OLD_EXCEPTION - layout.DEBUG_REGISTERS - 64)).cast("Q")


class DataBreakpoint(NamedTuple):
    """One that the guest has in its debug registers."""

    number: int
    """Of its register, DR0 to DR3."""
    addresses: range
    """Linear."""
    access: Access


class RegisterAccess(Protocol):
    """Reaches the registers that only the CPU can read or write: to write them, it makes the vCPU its current one."""

    def read_rflags(self, vcpu: "AmdvVcpu") -> int: ...

    def write_debug_register(self, vcpu: "AmdvVcpu", number: int, value: int) -> None:
        """DR0 to DR3, or DR7."""

    def write_fpu(self, vcpu: "AmdvVcpu", state: FpuState) -> None: ...


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
    cr0 = _DerivedFrom(layout.CONTROL_REGISTERS)
    cr2 = _StateRegister(layout.CONTROL_REGISTERS + 16)
    cr3 = _DerivedFrom(layout.CONTROL_REGISTERS + 24)
    cr4 = _DerivedFrom(layout.CONTROL_REGISTERS + 32)
    xcr0 = _StateRegister(layout.XCR0)
    dr0 = _DebugRegister(0)
    dr1 = _DebugRegister(1)
    dr2 = _DebugRegister(2)
    dr3 = _DebugRegister(3)
    dr6 = _StateRegister(layout.DEBUG_REGISTERS + 48)
    dr7 = _DebugRegister(7)

    def __init__(self, index: int, context: Context, access: RegisterAccess) -> None:
        self.index: Final = index
        self.context: Final = context
        self._access = access
        self._saved = layout.view(context.address + _CONTEXT_HEADER, layout.SIZE)
        self._saved_quads = self._saved.cast("Q")
        self._saved_words = self._saved.cast("I")
        self.instructions = 0
        self.event: Event | None = None
        """What has to be delivered before the next instruction."""
        self.unpushed: GuestException | None = None
        """An exception that was delivered but for its error code, which has to be pushed before the next instruction."""
        self.interrupt: int | None = None
        """The external interrupt that waits for RFLAGS.IF."""
        self.interrupt_taken: int | None = None
        self.nmi = False
        self.second_nmi = False
        """Another came before the first was taken, as it cannot where processors run at the same time."""
        self.is_edited = False
        """Somebody has written what the CPU derives other things from: it has to load the state anew."""
        self.breakpoint: int | None = None
        """The linear address of the breakpoint that the next run begins behind."""
        self.data_breakpoints: tuple[DataBreakpoint, ...] = ()
        """Those that its DR7 enables, which the engine looks after."""
        self.held_data_hits = 0
        """The data breakpoints that MOV SS or POP SS has met and holds back, as bits of DR6."""
        self.shows_rf = False
        """It has executed PUSHF in another mode than real mode, which pushes RF if IRET has set it in the same block."""
        self.modes: tuple[int, int, int, bool] | None = None
        """What `kev.engine.amdv.intercepts` has seen of it last; None if it may be otherwise."""
        self.random_numbers = 0
        """How many it has been given by RDRAND and RDSEED, where they come from a seed."""
        self._history: Final[deque[_RaisedEvent]] = deque(maxlen=HISTORY_LENGTH)
        self.detach()
        self.reset_task()

    def attach(self, quads: memoryview, words: memoryview) -> None:
        """Says where the registers are from now on."""
        self.quads = quads
        self.words = words

    def detach(self) -> None:
        """The registers are in the saved context from now on."""
        self.attach(self._saved_quads, self._saved_words)

    def save(self, structures: tuple[int, ...]) -> SavedVcpu:
        """What is in the saved context, which must be up to date, and the rest."""
        event = self.event
        dr7 = self._saved_quads[_DR7]
        return SavedVcpu(
            structures,
            self._saved.tobytes(),
            dr7 if dr7 & x86.DR7_ENABLES else 0,
            _read_fields(self),
            None if event is None else (event.exception, event.instruction_length, event.noted),
            tuple(self._history),
        )

    def load(self, saved: SavedVcpu) -> None:
        """Makes it what was saved, but for armed breakpoints. It must not be the current vCPU."""
        self._saved[:] = saved.registers
        self._check_task()
        if saved.armed:
            self._saved_quads[_DR7] &= ~x86.DR7_ENABLES
            self._saved_quads[_BREAKPOINTS] = _NO_BREAKPOINTS
        self.modes = None
        for name, value in zip(_FIELDS, saved.fields, strict=True):
            setattr(self, name, value)
        self.event = None
        if saved.event is not None:
            exception, instruction_length, noted = saved.event
            self.event = Event(exception, instruction_length)
            self.event.noted = noted
        if saved.history != tuple(self._history):
            self._history.clear()
            self._history.extend(saved.history)

    # Control and debug registers.

    @property
    def efer(self) -> int:
        """Without SVME, which is the hypervisor's."""
        return self.quads[layout.EFER >> 3] & ~x86.EFER_SVME

    @efer.setter
    def efer(self, value: int) -> None:
        self.quads[layout.EFER >> 3] = value | x86.EFER_SVME
        self._edited()

    @property
    def breakpoints_armed(self) -> bool:
        """DR7 enables one of the four."""
        return bool(self.quads[(layout.DEBUG_REGISTERS >> 3) + 7] & x86.DR7_ENABLES)

    def write_debug_register(self, number: int, value: int) -> None:
        """DR0 to DR3, or DR7."""
        self._access.write_debug_register(self, number, value)

    @property
    def protected_mode(self) -> bool:
        return bool(self.quads[layout.CONTROL_REGISTERS >> 3] & x86.CR0_PE)

    @property
    def long_mode(self) -> bool:
        """EFER.LMA: 64-bit or compatibility mode."""
        return bool(self.words[layout.HFLAGS >> 2] & HFLAGS_LMA)

    @property
    def in_64_bit_mode(self) -> bool:
        return bool(self.words[layout.HFLAGS >> 2] & HFLAGS_CS64)

    @property
    def in_guest_mode(self) -> bool:
        """What it executes is the guest's, and not the VMRUN that leads there."""
        return bool(self.words[layout.HFLAGS >> 2] & _HFLAGS_GUEST)

    @property
    def cpl(self) -> int:
        return self.words[layout.HFLAGS >> 2] & HFLAGS_CPL

    # Flags.

    @property
    def rflags(self) -> int:
        return self._access.read_rflags(self)

    @rflags.setter
    def rflags(self, value: int) -> None:
        self.set_rflags(value)
        self._edited()

    def hold_host_interrupts(self, held: bool) -> None:
        """Host interrupts wait until the guest's own flag permits interrupts, as if VMRUN had not masked that; or not any more."""
        flags = self.words[layout.HFLAGS2 >> 2]
        self.words[layout.HFLAGS2 >> 2] = flags & ~_HFLAGS2_VIRTUAL_IF if held else flags | _HFLAGS2_VIRTUAL_IF

    @property
    def interrupts_enabled(self) -> bool:
        """RFLAGS.IF."""
        return bool(self.words[layout.RFLAGS >> 2] & x86.RFLAGS_IF)

    @property
    def is_quiet(self) -> bool:
        """Nothing waits for it, and nothing about it is out of the ordinary, before its next instruction."""
        return (
            self.interrupt is None
            and self.event is None
            and not self.nmi
            and not self.is_edited
            and self.unpushed is None
            and not self.quads[_DR7] & x86.DR7_ENABLES
        )

    @property
    def takes_interrupts(self) -> bool:
        """An interrupt or NMI waits, and would be taken before the next instruction."""
        if self.interrupt_shadow:
            return False
        return (self.nmi and not self.nmi_blocked) or (self.interrupt is not None and self.interrupts_enabled)

    @property
    def nmi_blocked(self) -> bool:
        """An NMI has been taken, and no IRET since."""
        return bool(self.words[layout.HFLAGS2 >> 2] & _HFLAGS2_NMI_BLOCKED)

    @nmi_blocked.setter
    def nmi_blocked(self, blocked: bool) -> None:
        flags = self.words[layout.HFLAGS2 >> 2] & ~_HFLAGS2_NMI_BLOCKED
        self.words[layout.HFLAGS2 >> 2] = flags | (_HFLAGS2_NMI_BLOCKED if blocked else 0)

    @property
    def interrupt_shadow(self) -> bool:
        """The instruction before was STI or MOV SS."""
        return bool(self.words[layout.HFLAGS >> 2] & HFLAGS_INHIBIT_IRQ)

    @interrupt_shadow.setter
    def interrupt_shadow(self, shadow: bool) -> None:
        flags = self.words[layout.HFLAGS >> 2] & ~HFLAGS_INHIBIT_IRQ
        self.words[layout.HFLAGS >> 2] = flags | (HFLAGS_INHIBIT_IRQ if shadow else 0)

    def set_rflags(self, value: int) -> None:
        """Stores RFLAGS the way the CPU keeps them: arithmetic flags and DF apart from the rest."""
        quads, words = self.quads, self.words
        quads[layout.RFLAGS >> 3] = value & ~(x86.RFLAGS_ARITHMETIC | x86.RFLAGS_DF) | x86.RFLAGS_RESERVED_1
        quads[layout.CC_DST >> 3] = 0
        quads[layout.CC_SRC >> 3] = value & x86.RFLAGS_ARITHMETIC
        quads[layout.CC_SRC2 >> 3] = 0
        words[layout.CC_OP >> 2] = CC_OP_EFLAGS
        words[layout.DF >> 2] = 0xFFFF_FFFF if value & x86.RFLAGS_DF else 1

    def settled_rflags(self) -> int:
        """What `set_rflags` has stored, if the vCPU has not run since."""
        quads = self.quads
        direction = 0 if self.words[layout.DF >> 2] == 1 else x86.RFLAGS_DF
        return quads[layout.RFLAGS >> 3] | quads[layout.CC_SRC >> 3] | direction

    # Segments.

    @property
    def cs(self) -> SegmentRegister:
        return self._segment(CS)

    def segment(self, name: str) -> SegmentRegister:
        return self._segment(SEGMENTS.index(name))

    def _segment(self, number: int) -> SegmentRegister:
        selector, base, limit, flags = self.raw_segment(number)
        return SegmentRegister(selector & 0xFFFF, base, limit, flags >> 8 & 0xF0FF)

    def set_segment(self, name: str, value: SegmentRegister) -> None:
        self.set_raw_segment(SEGMENTS.index(name), value.selector, value.base, value.limit, (value.access & 0xF0FF) << 8)
        self._check_task()
        self._edited()

    def raw_segment(self, number: int) -> tuple[int, int, int, int]:
        """Selector, base, limit and the descriptor's second word, as the CPU keeps them."""
        words = self.words
        at = (layout.SEGMENTS >> 2) + 6 * number
        return words[at], words[at + 2] | words[at + 3] << 32, words[at + 4], words[at + 5]

    def set_raw_segment(self, number: int, selector: int, base: int, limit: int, flags: int) -> None:
        words = self.words
        at = (layout.SEGMENTS >> 2) + 6 * number
        words[at] = selector
        words[at + 2] = base & 0xFFFF_FFFF
        words[at + 3] = base >> 32
        words[at + 4] = limit
        words[at + 5] = flags

    def reset_task(self) -> None:
        """Makes TR what it is after a reset: a task at 0, of 64 KiB (Intel SDM vol. 3, "Processor state after reset").

        Without one that is present and, as here, not busy, the emulated CPU ends the process when it delivers an event at CPL 3.
        """
        self.set_raw_segment(TR, 0, 0, 0xFFFF, _PRESENT | _TSS_32)

    def _check_task(self) -> None:
        """What was loaded may say anything of TR."""
        selector, base, limit, flags = self.raw_segment(TR)
        if flags & _TSS_KINDS & ~_BUSY not in (_TSS_16, _TSS_32) or not flags & _PRESENT:
            self.reset_task()
        elif flags & _BUSY:
            self.set_raw_segment(TR, selector, base, limit, flags & ~_BUSY)

    @property
    def gdtr(self) -> DescriptorTable:
        return DescriptorTable(*self.raw_segment(GDTR)[1:3])

    @gdtr.setter
    def gdtr(self, table: DescriptorTable) -> None:
        self.set_raw_segment(GDTR, 0, table.base, table.limit, 0)

    @property
    def idtr(self) -> DescriptorTable:
        return DescriptorTable(*self.raw_segment(IDTR)[1:3])

    @idtr.setter
    def idtr(self, table: DescriptorTable) -> None:
        self.set_raw_segment(IDTR, 0, table.base, table.limit, 0)

    def _edited(self) -> None:
        """What the hypervisor itself goes by until the CPU has loaded the state anew."""
        self.is_edited = True
        flags = self.words[layout.HFLAGS >> 2] & ~(HFLAGS_LMA | HFLAGS_CS64 | _HFLAGS_OF_SEGMENTS)
        _, _, _, code = self.raw_segment(CS)
        _, _, _, stack = self.raw_segment(SS)
        flags |= stack >> _DPL_SHIFT & HFLAGS_CPL | (HFLAGS_SS32 if stack & _BIG else 0)
        long_mode = self.efer & x86.EFER_LMA
        if long_mode:
            flags |= HFLAGS_LMA
        if long_mode and code & LONG_CODE:
            flags |= HFLAGS_CS64 | HFLAGS_CS32 | HFLAGS_SS32
        else:
            flags |= (HFLAGS_CS32 if code & _BIG else 0) | (HFLAGS_ADDSEG if self._adds_segment_bases(code) else 0)
        self.words[layout.HFLAGS >> 2] = flags

    def _adds_segment_bases(self, code: int) -> bool:
        """Whether they may differ from 0 outside of 64-bit mode, as the CPU sees it."""
        if not self.protected_mode or self.quads[layout.RFLAGS >> 3] & x86.RFLAGS_VM or not code & _BIG:
            return True
        return any(self.raw_segment(number)[1] for number in (DS, ES, SS))

    # The rest.

    def read_msr(self, index: int) -> int:
        return self.quads[_MSRS[index] >> 3]

    def write_msr(self, index: int, value: int) -> None:
        self.quads[_MSRS[index] >> 3] = value & 0xFFFF_FFFF_FFFF_FFFF

    def read_fpu(self) -> FpuState:
        return fpu.read(self.quads)

    def write_fpu(self, state: FpuState) -> None:
        self._access.write_fpu(self, state)

    def read_events(self) -> PendingEvents:
        event = self.event
        return PendingEvents(
            exception=None if event is None else event.exception,
            instruction_length=0 if event is None else event.instruction_length,
            unpushed=self.unpushed,
            nmi=self.nmi,
            nmi_blocked=self.nmi_blocked,
            interrupt_shadow=self.interrupt_shadow,
        )

    def write_events(self, events: PendingEvents) -> None:
        self.event = None if events.exception is None else Event(events.exception, events.instruction_length)
        self.unpushed = events.unpushed
        self.nmi = events.nmi
        self.second_nmi &= events.nmi
        self.nmi_blocked = events.nmi_blocked
        self.interrupt_shadow = events.interrupt_shadow

    # Its history.

    @property
    def history(self) -> Sequence[RaisedEvent]:
        return tuple(RaisedEvent(*event) for event in self._history)

    def note_event(self, event: Event, instructions: int) -> None:
        """An event is about to be delivered; RIP is where it was raised."""
        event.noted = True
        quads, exception = self.quads, event.exception
        address = quads[_CR2] if exception.vector == x86.PAGE_FAULT else None
        by_int = event.instruction_length != 0 and exception.vector not in _OF_THEIR_OWN
        self._history.append((exception.vector, exception.error_code, address, quads[layout.RIP >> 3], instructions, by_int))

    def note_interrupt(self, vector: int, instructions: int) -> None:
        """The CPU has taken an interrupt by itself."""
        self._history.append((vector, None, None, None, instructions, False))

    # Emulated instructions.

    @property
    def instruction_address(self) -> int:
        """The linear address of the instruction at RIP."""
        words = self.words
        address = (words[_CS_BASE] | words[_CS_BASE + 1] << 32) + self.quads[layout.RIP >> 3]
        return address & (0xFFFF_FFFF_FFFF_FFFF if words[layout.HFLAGS >> 2] & HFLAGS_CS64 else 0xFFFF_FFFF)

    def skip(self, length: int) -> None:
        """Moves RIP past an instruction that was emulated: interrupts are no longer held back, and a single step ends here."""
        words = self.words
        words[layout.HFLAGS >> 2] &= ~HFLAGS_INHIBIT_IRQ
        rip = self.quads[layout.RIP >> 3] + length
        self.quads[layout.RIP >> 3] = rip if words[layout.HFLAGS >> 2] & HFLAGS_CS64 else rip & 0xFFFF_FFFF
        if words[layout.RFLAGS >> 2] & x86.RFLAGS_TF and self.event is None:
            self.quads[(layout.DEBUG_REGISTERS >> 3) + 6] |= x86.DR6_BS
            self.event = Event(GuestException(x86.DEBUG))
