"""What is on its way into the guest: exceptions, software interrupts, and interrupts that something came in between of."""

from collections.abc import Callable, Iterable
from typing import Final

from kev.addressing import is_canonical
from kev.engine.amdv import layout
from kev.engine.amdv.delivery import INTERRUPT_NMI, EventDelivery, nested_error_code
from kev.engine.amdv.linear import AwaitedPage, LinearMemory
from kev.engine.amdv.slice import Slice
from kev.engine.amdv.vcpu import AmdvVcpu, Event
from kev.engine.amdv.vmcb import Vmcb
from kev.exits import GuestException, PreemptionTimer
from kev.page_tables.guest import GuestFault
from kev.x86 import BREAKPOINT, DOUBLE_FAULT, ERROR_IDT, GENERAL_PROTECTION, HAS_ERROR_CODE, NMI, OVERFLOW

_BLOCKS_OF_AN_EVENT: Final = 50
"""So many blocks are looked at in the time that an event takes."""


class Events:
    """The event that the current vCPU is being given, from where it was raised to the handler's first instruction."""

    __slots__ = ("_delivery", "_linear", "_slice", "_vmcb", "all_blocks", "delivering", "first_vector", "return_to_branch")

    def __init__(self, slice: Slice, delivery: EventDelivery, linear: LinearMemory, vmcb: Vmcb) -> None:
        self._slice: Final = slice
        self._delivery: Final = delivery
        self._linear: Final = linear
        self._vmcb: Final = vmcb
        self.delivering: Event | None = None
        """What the CPU is delivering now, or will with the VMRUN that comes next."""
        self.first_vector: int | None = None
        """Of what was raised last, whatever its delivery led to."""
        self.all_blocks: Callable[[], Iterable[tuple[int, int]]] | None = None
        """Says of everything that the CPU has translated its linear address and its size, where that can be found out."""
        self.return_to_branch: Callable[[], bool] = lambda: False
        """See `kev.engine.amdv.blocks.return_to_branch`."""

    def raise_exception(self, vcpu: AmdvVcpu, exception: GuestException, instruction_length: int = 0) -> None:
        """Begins to deliver `exception`, or a software interrupt of an instruction of so many bytes."""
        self.first_vector = exception.vector
        self.deliver(vcpu, Event(exception, instruction_length))

    def deliver(self, vcpu: AmdvVcpu, event: Event) -> None:
        """Leads the CPU through VMRUN into the guest's handler."""
        vcpu.event = self.delivering = event
        slice = self._slice
        if not event.noted:
            if vcpu.interrupt is not None:
                slice.note_taken(vcpu)
            vcpu.note_event(event, slice.instructions_of(vcpu) if slice.counted else vcpu.instructions)
        slice.note_event()
        slice.do_not_count()
        self._delivery.prepare_event(vcpu, event)

    def deliver_pending(self, vcpu: AmdvVcpu) -> None:
        """A single-step trap that an emulated instruction left behind."""
        if vcpu.event is not None and self.delivering is None and self._slice.exit is None:
            self.raise_exception(vcpu, vcpu.event.exception)

    def on_host_interrupt(self, vcpu: AmdvVcpu) -> None:
        """The CPU has exited with INTR: behind a delivery, or because the slice is over."""
        self._slice.take_back_hard_kick()
        event = self.delivering
        if self._slice.exit is not None:
            return
        if event is not None:
            if not self._delivery.finish_event(vcpu):
                self.deliver(vcpu, event)
                return
            self._finish_delivery(vcpu, event)
            if self._slice.exit is not None or not (self._slice.preempted or self._slice.stops_at_events):
                return
        self._slice.stop(vcpu, PreemptionTimer())

    def _finish_delivery(self, vcpu: AmdvVcpu, event: Event) -> None:
        vcpu.event = self.delivering = None
        if event.exception.vector in HAS_ERROR_CODE and not event.instruction_length and vcpu.protected_mode:
            self.push_error_code(vcpu, event.exception)

    def push_error_code(self, vcpu: AmdvVcpu, exception: GuestException) -> None:
        """What VMRUN leaves out of the frame. If the stack's page has to be awaited, `vcpu` keeps the exception until then."""
        vcpu.unpushed = None
        try:
            self._linear.push(vcpu, exception.vector, exception.error_code or 0)
        except GuestFault:
            self.raise_exception(vcpu, GuestException(DOUBLE_FAULT, 0))
        except AwaitedPage as awaited:
            vcpu.unpushed = exception
            self._slice.stop(vcpu, awaited.violation)

    def on_guest_exception(self, vcpu: AmdvVcpu, vector: int) -> None:
        """The CPU has found an exception, or executed a software interrupt, and left it at that."""
        software = bool(vcpu.words[layout.EXCEPTION_IS_INT >> 2])
        vcpu.words[layout.EXCEPTION_IS_INT >> 2] = 0
        error_code = vcpu.words[layout.ERROR_CODE >> 2] if vector in HAS_ERROR_CODE else None
        delivering = self.delivering or self._interrupt_on_its_way()
        if delivering is not None:
            if delivering.instruction_length:
                vcpu.rip -= delivering.instruction_length
            self.deliver(vcpu, Event(GuestException(vector, nested_error_code(vcpu, delivering, vector, error_code))))
        elif software:
            self.raise_software_interrupt(vcpu, vector)
        else:
            if vector == GENERAL_PROTECTION and vcpu.in_64_bit_mode and not is_canonical(vcpu.rip):
                self._take_back_jump(vcpu)
            self.raise_exception(vcpu, GuestException(vector, error_code))

    def _take_back_jump(self, vcpu: AmdvVcpu) -> None:
        """RIP is not canonical: the exception is of the jump that led there."""
        if self.all_blocks is not None:
            from kev.engine.amdv.jumps import LostJumps  # which few guests need

            blocks = LostJumps(self._linear, self.all_blocks, self.return_to_branch).take_back(vcpu)
            self._slice.note_event(blocks // _BLOCKS_OF_AN_EVENT)

    def _interrupt_on_its_way(self) -> Event | None:
        """The interrupt that the CPU was delivering by itself when an exception came in between. It stays requested."""
        vector = self._vmcb.take_injection()
        if vector is None:
            return None
        self.first_vector = vector
        return Event(GuestException(vector))

    def begin_nmi_again(self, vcpu: AmdvVcpu) -> None:
        """A violation came while the CPU delivered an interrupt by itself. If it was an NMI, it is taken for delivered."""
        if self._vmcb.take_injection() == NMI:
            vcpu.nmi_blocked = False
            self._slice.kick(INTERRUPT_NMI)

    def raise_software_interrupt(self, vcpu: AmdvVcpu, vector: int) -> None:
        """INT n, INT3, INTO: RIP is past the instruction already."""
        before = vcpu.cs.base + vcpu.rip - 1
        length = 1 if vector in (BREAKPOINT, OVERFLOW) and self._linear.peek(vcpu, before, 1) in (b"\xcc", b"\xce") else 2
        try:
            gate_level = self._linear.gate_privilege_level(vcpu, vector)
        except AwaitedPage as awaited:
            vcpu.rip -= length
            self._slice.stop(vcpu, awaited.violation)
            return
        if gate_level is not None and gate_level < vcpu.cpl:
            vcpu.rip -= length
            self.raise_exception(vcpu, GuestException(GENERAL_PROTECTION, vector << 3 | ERROR_IDT))
        else:
            self.raise_exception(vcpu, GuestException(vector), length)
