"""One local APIC: its state, what it accepts, and what it offers to its processor (SDM vol. 3, "Handling interrupts")."""

from enum import IntEnum, IntFlag
from typing import Final

from kev.addressing import PAGE_SIZE
from kev.clock import Clock, TimerQueue
from kev.dev.clocks.time_stamp_counter import TimeStampCounter
from kev.dev.interrupts.local_apic.message import DeliveryMode, InterruptMessage
from kev.dev.interrupts.local_apic.timer import ApicTimer, TimerMode
from kev.dev.interrupts.local_apic.wiring import ExternalInterrupts, ProcessorSignals
from kev.state import FLAG, PART, Fields, State, bits, converted, listed, wide

LOWEST_VECTOR: Final = 16
"""Vectors below are illegal: they belong to exceptions."""

BASE_ADDRESS: Final = 0xFEE0_0000
PHYSICAL_ADDRESS_WIDTH: Final = 40  # what CPUID says
BASE_BSP: Final = 1 << 8
BASE_X2APIC: Final = 1 << 10
BASE_ENABLE: Final = 1 << 11

_SPURIOUS_ENABLE: Final = 1 << 8
_SPURIOUS_VECTOR_AT_RESET: Final = 0xFF
_LVT_MASKED: Final = 1 << 16
_LVT_AT_RESET: Final = _LVT_MASKED
_FLAT_MODEL: Final = 0xF


class Lvt(IntEnum):
    """The entries of the local vector table, in the order of their registers."""

    TIMER = 0
    THERMAL = 1
    PERFORMANCE = 2
    LINT0 = 3
    LINT1 = 4
    ERROR = 5


_VECTORS: Final = wide(32)
"""A set of vectors."""

LVT_WRITABLE: Final = (0x7_00FF, 0x1_07FF, 0x1_07FF, 0x1_A7FF, 0x1_A7FF, 0x1_00FF)


class ApicError(IntFlag):
    """The error status register's bits."""

    SEND_ILLEGAL_VECTOR = 1 << 5
    RECEIVE_ILLEGAL_VECTOR = 1 << 6
    ILLEGAL_REGISTER = 1 << 7


_ERRORS: Final = converted(bits(8), int, ApicError)


class LocalApic:
    """The local APIC of one vCPU. Its id is the vCPU's number.

    Interrupt requests and interrupts in service are sets of vectors, as the bits of an int.
    """

    __slots__ = (
        "_errors",
        "_external",
        "_external_requested",
        "_external_wired",
        "_signals",
        "_spurious",
        "base",
        "destination_format",
        "error_status",
        "id",
        "interrupt_command",
        "irr",
        "isr",
        "logical_destination",
        "lvt",
        "pending",
        "timer",
        "tmr",
        "tpr",
    )

    _FIELDS: Final = Fields(
        {
            "_errors": _ERRORS,
            "_external_requested": FLAG,
            "_spurious": bits(10),
            "base": bits(PHYSICAL_ADDRESS_WIDTH),
            "destination_format": bits(4),
            "error_status": _ERRORS,
            "interrupt_command": bits(64),
            "irr": _VECTORS,
            "isr": _VECTORS,
            "logical_destination": bits(8),
            "lvt": listed(bits(19), len(Lvt)),
            "tmr": _VECTORS,
            "tpr": bits(8),
        },
        timer=PART,
    )

    def __init__(
        self,
        vcpu: int,
        counter: TimeStampCounter,
        clock: Clock,
        timers: TimerQueue,
        signals: ProcessorSignals,
        external: ExternalInterrupts,
    ) -> None:
        self.id: Final = vcpu
        self.timer: Final = ApicTimer(counter, clock, timers, self._timer_expired)
        counter.changed.subscribe(self.timer.follow_counter)
        self._signals = signals
        self._external = external
        self._external_wired: Final = vcpu == 0
        self.pending: int | None = None
        """The vector that the processor should take as soon as it can, or None."""
        self._set_up()

    def _set_up(self) -> None:
        """As the firmware of a PC leaves it: vCPU 0 takes the 8259's interrupts through LINT0 ("virtual wire mode")."""
        self.base = BASE_ADDRESS | BASE_ENABLE | (BASE_BSP if self.id == 0 else 0)
        """IA32_APIC_BASE."""
        self._reset_registers()
        if self._external_wired:
            self._spurious |= _SPURIOUS_ENABLE
            self.lvt[Lvt.LINT0] = DeliveryMode.EXTINT << 8
            self.lvt[Lvt.LINT1] = DeliveryMode.NMI << 8

    def switch_on(self) -> None:
        """What switching the power on does."""
        self._set_up()
        self.update()

    def save(self) -> State:
        return self._FIELDS.save(self, timer=self.timer.save())

    def load(self, called: str, state: State) -> None:
        """The processor is told of what it should take now."""
        timer = self._FIELDS.load(self, called, state)["timer"]
        self.timer.load(f"{called}, timer", timer)
        self.update()

    def _reset_registers(self) -> None:
        self.irr = 0
        self.isr = 0
        self.tmr = 0
        """The vectors accepted as level-triggered."""
        self.tpr = 0
        self.logical_destination = 0
        """Bits 24-31 of the xAPIC's LDR."""
        self.destination_format = _FLAT_MODEL
        """Bits 28-31 of the DFR."""
        self.interrupt_command = 0
        """The ICR, 64 bits, the destination in the high half."""
        self.error_status = ApicError(0)
        self.lvt = [_LVT_AT_RESET] * len(Lvt)
        self._errors = ApicError(0)
        self._spurious = _SPURIOUS_VECTOR_AT_RESET
        self._external_requested = False
        self.timer.reset()

    def reset(self) -> None:
        """What INIT does: everything but IA32_APIC_BASE and the id (SDM vol. 3, "Local APIC state")."""
        self._reset_registers()
        self.update()

    # What the processor sees

    def update(self) -> None:
        """Works out `pending` anew, after anything that it depends on has changed."""
        vector = self._external_vector()
        if vector is None and self.irr:
            highest = self.irr.bit_length() - 1
            if highest >> 4 > max(self.tpr >> 4, (self.isr.bit_length() - 1) >> 4):
                vector = highest
        if vector != self.pending:
            self.pending = vector
            self._signals.interrupt_changed(self.id)

    def _external_vector(self) -> int | None:
        """What the 8259 offers this processor: through LINT0, or because of an ExtINT message."""
        vector = self._external.pending
        if vector is None or self._external_requested or (self._external_wired and self._lint0_passes_external()):
            return vector
        return None

    def _lint0_passes_external(self) -> bool:
        return not self.enabled or self.lvt[Lvt.LINT0] & (_LVT_MASKED | 0x700) == DeliveryMode.EXTINT << 8

    def acknowledge(self, vector: int) -> None:
        """The processor has taken `vector`."""
        bit = 1 << vector
        if self.irr & bit and vector != self._external_vector():
            self.irr ^= bit
            self.isr |= bit
        else:
            self._external_requested = False
            self._external.acknowledge(vector)
        self.update()

    def end_of_interrupt(self) -> int | None:
        """Ends the service of the highest vector; returns it if the I/O APIC has to hear of it."""
        isr = self.isr
        if not isr:
            return None
        vector = isr.bit_length() - 1
        bit = 1 << vector
        self.isr = isr ^ bit
        self.update()
        return vector if self.tmr & bit else None

    @property
    def processor_priority(self) -> int:
        in_service = max(0, self.isr.bit_length() - 1)
        return self.tpr if self.tpr >> 4 >= in_service >> 4 else in_service & 0xF0

    @property
    def arbitration_priority(self) -> int:
        requested = max(0, self.irr.bit_length() - 1) >> 4
        in_service = max(0, self.isr.bit_length() - 1) >> 4
        task = self.tpr >> 4
        if task >= requested and task > in_service:
            return self.tpr
        return max(task & in_service, requested) << 4

    def set_task_priority(self, priority: int) -> None:
        self.tpr = priority
        self.update()

    # What arrives

    def accept(self, vector: int, level_triggered: bool = False) -> None:
        """A fixed interrupt."""
        if vector < LOWEST_VECTOR:
            self.report_error(ApicError.RECEIVE_ILLEGAL_VECTOR)
            return
        bit = 1 << vector
        self.irr |= bit
        if level_triggered:
            self.tmr |= bit
        else:
            self.tmr &= ~bit
        self.update()

    def send_to_itself(self, vector: int) -> None:
        """The x2APIC's SELF IPI register."""
        if vector < LOWEST_VECTOR:
            self.report_error(ApicError.SEND_ILLEGAL_VECTOR)
        elif self.enabled:
            self.accept(vector)

    def signal(self, mode: DeliveryMode, vector: int) -> None:
        """A message that is no fixed interrupt. There is no system management mode: SMIs are lost."""
        if mode is DeliveryMode.NMI:
            self._signals.nmi(self.id)
        elif mode is DeliveryMode.INIT:
            self.reset()
            self._signals.init(self.id)
        elif mode is DeliveryMode.STARTUP:
            self._signals.startup(self.id, vector)
        elif mode is DeliveryMode.EXTINT:
            self._external_requested = True
            self.update()

    def lint0_rose(self) -> None:
        """The 8259's INT has risen: a fixed interrupt or an NMI, if LINT0 is programmed as one. `update` deals with ExtINT."""
        self._deliver_local(Lvt.LINT0)

    def _deliver_local(self, entry: Lvt) -> None:
        value = self.lvt[entry]
        if value & _LVT_MASKED:
            return
        mode = value >> 8 & 7
        if mode == DeliveryMode.FIXED:
            self.accept(value & 0xFF)
        elif mode == DeliveryMode.NMI:
            self._signals.nmi(self.id)

    def _timer_expired(self) -> None:
        self._deliver_local(Lvt.TIMER)

    def report_error(self, error: ApicError) -> None:
        """Takes note of an error and raises the error interrupt, once until the register is written."""
        news = error & ~self._errors
        self._errors |= error
        if news:
            self._deliver_local(Lvt.ERROR)

    def latch_errors(self) -> None:
        """A write to the error status register: it shows the errors since the last one."""
        self.error_status = self._errors
        self._errors = ApicError(0)

    def is_destination(self, message: InterruptMessage) -> bool:
        """Whether the message is for this local APIC (SDM vol. 3, "Determining IPI destination")."""
        destination = message.destination
        if message.is_broadcast:
            return True
        if not message.logical:
            return destination == self.id
        if message.wide or self.base & BASE_X2APIC:
            own = self.x2apic_logical_id
            return destination >> 16 == own >> 16 and bool(destination & own & 0xFFFF)
        if self.destination_format == _FLAT_MODEL:
            return bool(destination & self.logical_destination)
        return destination >> 4 == self.logical_destination >> 4 and bool(destination & self.logical_destination & 0xF)

    # Registers that do more than hold a value

    @property
    def x2apic_logical_id(self) -> int:
        """The x2APIC's LDR, derived from the id: clusters of 16 (SDM vol. 3, "Logical destination mode in x2APIC mode")."""
        return self.id >> 4 << 16 | 1 << (self.id & 0xF)

    @property
    def enabled(self) -> bool:
        """Takes fixed interrupts: enabled in IA32_APIC_BASE and in the spurious-interrupt vector register."""
        return bool(self._spurious & _SPURIOUS_ENABLE and self.base & BASE_ENABLE)

    @property
    def spurious(self) -> int:
        return self._spurious

    @spurious.setter
    def spurious(self, value: int) -> None:
        """Software-disabling the local APIC masks the whole local vector table."""
        self._spurious = value
        if not value & _SPURIOUS_ENABLE:
            self.lvt = [entry | _LVT_MASKED for entry in self.lvt]
        self.update()

    def set_lvt(self, entry: Lvt, value: int) -> None:
        value &= LVT_WRITABLE[entry]
        if not self._spurious & _SPURIOUS_ENABLE:
            value |= _LVT_MASKED
        self.lvt[entry] = value
        if entry is Lvt.TIMER:
            self.timer.set_mode(TimerMode(value >> 17 & 3))
        elif entry is Lvt.LINT0:
            self.update()

    @property
    def address(self) -> int:
        """Of the page of its registers."""
        return self.base & -PAGE_SIZE

    def answers_at(self, page: int) -> bool:
        """It is in xAPIC mode, and the page of its registers is this one."""
        return self.base & ~BASE_BSP == page | BASE_ENABLE

    def set_base(self, value: int) -> bool:
        """Writes IA32_APIC_BASE; False where the SDM forbids the change (vol. 3, "x2APIC state transitions")."""
        before, after = self.base & (BASE_ENABLE | BASE_X2APIC), value & (BASE_ENABLE | BASE_X2APIC)
        if after == BASE_X2APIC or (after == BASE_ENABLE and before & BASE_X2APIC) or (after & BASE_X2APIC and not before):
            return False
        self.base = value & ~BASE_BSP | self.base & BASE_BSP
        if before and not after:
            self.reset()
        return True
