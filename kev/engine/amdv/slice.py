"""A slice: what a vCPU executes between two exits that end it, and the requests by which it is made to look up."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from kev import x86
from kev.engine.amdv.delivery import INTERRUPT_HARD, INTERRUPT_NMI, INTERRUPT_SMI, INTERRUPT_VIRTUAL
from kev.engine.amdv.errors import EngineError
from kev.engine.amdv.layout import CpuMemory
from kev.engine.amdv.libunicorn import EmulatedCpu, EmulationError
from kev.engine.amdv.preempt import PreemptionThread
from kev.engine.amdv.vcpu import AmdvVcpu
from kev.engine.amdv.vmcb import Vmcb
from kev.engine.base import Budget, Service
from kev.exits import EptViolation, Exit, Reply

if TYPE_CHECKING:
    from kev.engine.amdv.counting import Counting

UNLIMITED: Final = 1 << 62
"""Instructions of what is counted for other reasons than to limit it."""
_MOST_REPETITIONS: Final = 1000
"""Of one instruction of a counted slice, beyond what an instruction needs until all of its pages are there."""


def _no_service(_exit: Exit) -> None:
    """Stands in until the first slice names the machine's own."""


class Slice:
    """What the CPU executes, of which vCPU, how far it has come, and why it ends."""

    __slots__ = (
        "_counter",
        "_counting",
        "_counts_by_instruction_next",
        "_cpu",
        "_interruptions_left",
        "_left",
        "_limit",
        "_not_retired",
        "_repeats_behind",
        "_repetitions",
        "_retired_before",
        "_running",
        "_serve",
        "_spares_critical_sections",
        "_timer",
        "_uc",
        "_untouched",
        "_vmcb",
        "counted",
        "counted_natively",
        "exit",
        "failed",
        "holds_interrupts",
        "preempted",
        "quietly",
        "service",
        "stops_at_events",
        "vcpu",
    )

    def __init__(self, uc: EmulatedCpu, cpu: CpuMemory, vmcb: Vmcb, timer: PreemptionThread, counting: "Counting | None") -> None:
        """`counting` is what counts where slices ask for it; without it, Unicorn does."""
        self._uc: Final = uc
        self._cpu: Final = cpu
        self._vmcb: Final = vmcb
        self._timer: Final = timer
        self._cpu.whole_instructions.value = 1
        self.vcpu: AmdvVcpu | None = None
        """The current vCPU: its registers are in the CPU."""
        self.service: Service = _no_service
        self.quietly: Callable[[EptViolation], bool] | None = None
        """Answers violations that are no exits: see `Engine.answer_quietly`."""
        self.exit: Exit | None = None
        """What has ended the slice."""
        self.failed = False
        """A slice ended in an error: nobody knows what it has left in the CPU."""
        self._counting: Final = counting
        self._counter, self._limit = cpu.counter, cpu.count_limit
        """Those of what counts."""
        self.counted = False
        """Whether instructions are counted."""
        self.counted_natively = False
        """Whether that is not Unicorn's own doing."""
        self.preempted = False
        """Whether the slice has to end before its next instruction."""
        self.stops_at_events = False
        """Whether the slice has to end where an event has been delivered."""
        self.holds_interrupts = False
        """Whether nothing is requested of the CPU: it would also take it at the end of the slice."""
        self._running = False
        self._spares_critical_sections = False
        """A request for INTR waits for the guest's RFLAGS.IF."""
        self._counts_by_instruction_next = False
        self._not_retired = self._retired_before = self._left = 0
        self._interruptions_left = 0
        self._repetitions = 0
        """How often something was begun that did not count, behind `_repeats_behind` instructions."""
        self._repeats_behind = -1
        self._untouched = False
        """All is as `begin` leaves it for a slice counted natively, and nothing is requested of the CPU."""
        self._serve: Service = _no_service

    # The vCPU.

    def switch_to(self, vcpu: AmdvVcpu) -> None:
        """Makes `vcpu`, which is not the current one, current."""
        if self.vcpu is None:
            self._uc.restore(vcpu.context)
            self._uc.flush_tlb()
        else:
            self._uc.switch(self.vcpu.context, vcpu.context)
            self.vcpu.detach()
        vcpu.attach(self._cpu.quads, self._cpu.words)
        self.vcpu = vcpu

    def put_aside(self, vcpu: AmdvVcpu) -> None:
        """Moves the registers of the current vCPU from the CPU to its context."""
        self._uc.save(vcpu.context)
        vcpu.detach()
        self.vcpu = None

    def is_executing(self, vcpu: AmdvVcpu) -> bool:
        """It is the one on the CPU, and its slice has not been ended yet: interrupts are requested at once."""
        return vcpu is self.vcpu and self._running and self.exit is None and not self.holds_interrupts

    # From beginning to end.

    def begin(self, service: Service, *, counted: bool, natively: bool = False) -> None:
        """What comes from now on belongs to a new slice, which is `counted` by Unicorn or `natively`."""
        self.stops_at_events = self.holds_interrupts = self._counts_by_instruction_next = False
        self.service = service
        self.exit = None
        self.preempted = False
        self._left = self._not_retired = self._retired_before = self._interruptions_left = self._repetitions = 0
        self._untouched = False
        if self._counting is not None:
            self._counting.limit_own_stores(0)
        if counted is not self.counted or natively is not self.counted_natively:
            self._change_counting(counted, natively)

    def count_by_instruction(self) -> None:
        """Unicorn counts what is left of the slice that is running: not every instruction is executed that has been translated."""
        if self.counted_natively and self._running:
            self._counts_by_instruction_next = True
            self._leave_block()

    def _change_counting(self, counted: bool, natively: bool) -> None:
        """Counting is compiled into translated code, and so are the places where it can be left."""
        self._uc.flush_code()
        counting = self._counting
        if counting is not None and natively:
            counting.begin()
            self._counter, self._limit = counting.counter, counting.limit
        elif counting is not None:
            counting.end()
            self._counter, self._limit = self._cpu.counter, self._cpu.count_limit
        self.counted, self.counted_natively = counted, natively
        self._cpu.whole_instructions.value = natively or not counted

    @property
    def leaves_flags_unsettled(self) -> bool:
        """What is executing was instrumented: see `kev.engine.amdv.flags`."""
        if self.counted_natively:
            return self._counting is not None and self._counting.by_instruction
        return self.counted

    def limit_interruptions(self, most: int) -> None:
        """The slice that has begun ends behind so many exits and events, or stores to the code that they are a part of."""
        self._interruptions_left = most
        if self._counting is not None:
            self._counting.limit_own_stores(most)
        self._serve, self.service = self.service, self._serve_and_count

    @property
    def interruptions_left(self) -> int:
        """Of a slice that `limit_interruptions` was called for, and which has not ended by that."""
        return self._interruptions_left

    def note_event(self, weight: int = 1) -> None:
        """An event is about to be delivered, again if something has come in between. If the slice ends by that, it is behind it.

        `weight`: what is done for it takes the time of so many.
        """
        if self._interruptions_left and weight:
            self._interruptions_left = max(self._interruptions_left - weight + 1, 1)
            self._count_interruption()

    def stop_at_events(self, vcpu: AmdvVcpu) -> None:
        """The slice that has begun ends where an event has been delivered. An interrupt is taken now, or not at all."""
        self.stops_at_events = True
        self.holds_interrupts = vcpu.event is not None or not vcpu.takes_interrupts

    def arm_timer(self, seconds: float) -> None:
        """The slice ends in `seconds`, by the host's clock."""
        self._timer.arm(seconds, self._preempt)

    def spare_critical_sections(self, vcpu: AmdvVcpu) -> None:
        """When time is over, the slice that has begun ends where the guest permits interrupts, if that comes soon.

        Who has switched them off holds a lock as likely as not, for which all others would wait until its next turn.
        """
        if not self.counted and vcpu.event is None:
            self._spares_critical_sections = True
            vcpu.hold_host_interrupts(True)

    def enter_guest(self, vcpu: AmdvVcpu) -> None:
        """Executes the VMRUN that the CPU is at, which ends by itself: counted, or not, as the code is that is translated already.

        When code is executed without counting, the CPU forgets what it has translated for counting.
        """
        self.emulate(vcpu, UNLIMITED if self.counted else 0)

    def emulate(self, vcpu: AmdvVcpu, count: int) -> None:
        """Executes `count` instructions, or without a limit if it is 0. EngineError if the CPU cannot go on."""
        self._running = True
        self._untouched = False
        if self.preempted:
            self.kick_hard()  # the preemption thread came before the slice had begun
        try:
            if self.counted_natively:
                self._uc.run_counted(vcpu.rip, count)
            else:
                self._uc.run(vcpu.rip, count)
        except EmulationError as error:
            self._note_error(vcpu, error)
        except BaseException:
            self.failed = True
            raise
        finally:
            self._running = False
            if self.counted:
                self._retired_before += self._retired()
                self._not_retired = 0

    def run_out(self, vcpu: AmdvVcpu, count: int, service: Service) -> bool:
        """A slice of `count` instructions, counted natively, of a vCPU for which nothing waits; there must be a current one.

        Says whether they were executed and nothing else has happened. Else the slice has begun, as by `emulate`.
        """
        if not self._untouched:
            self.begin(service, counted=True, natively=True)
            self._cpu.interrupt_request.value = 0
        before = self.vcpu
        assert before is not None
        if vcpu is not before:
            before.detach()
            vcpu.attach(self._cpu.quads, self._cpu.words)
            self.vcpu = vcpu
        self.service = service
        self.preempted = self._untouched = False
        self._running = True
        try:
            self._untouched = self._uc.take_turn(before.context, vcpu.context, count)
        except EmulationError as error:
            self._note_error(vcpu, error)
        except BaseException:
            self.failed = True
            raise
        finally:
            self._running = False
            if not self._untouched:
                self._retired_before += self._retired()
                self._not_retired = 0
        return self._untouched

    def _note_error(self, vcpu: AmdvVcpu, error: EmulationError) -> None:
        """EngineError unless the slice has ended in the way it should."""
        if self.exit is None:
            self.failed = True
            raise EngineError(f"vCPU {vcpu.index} at RIP {vcpu.rip:#x}: {error}") from error

    def is_interrupted(self) -> bool:
        """Whether a counted slice was left for a request, and has to be continued."""
        return self._left != 0 and not self.preempted

    def go_on(self, vcpu: AmdvVcpu, *, with_event: bool) -> None:
        """Executes what is left of the slice, or at least the VMRUN that delivers an event."""
        if self._counts_by_instruction_next:
            self._counts_by_instruction_next = False
            self._change_counting(counted=True, natively=False)
        count, self._left = self._left, 0
        if with_event and self.counted:
            self._not_retired = 1
            count += 1
        self.emulate(vcpu, count)

    def finish(self, vcpu: AmdvVcpu) -> None:
        """However it has ended."""
        self._timer.disarm()
        if self._spares_critical_sections:
            self._spares_critical_sections = False
            vcpu.hold_host_interrupts(False)
        vcpu.instructions += self._retired_before

    def stop(self, vcpu: AmdvVcpu, exit: Exit) -> None:
        """Ends the slice with `exit`. Interrupts wait for the next slice: else the CPU would take them on its way out."""
        self.note_pending(vcpu)
        self.exit = exit
        self._uc.stop()

    def ask(self, violation: EptViolation) -> Reply | None:
        """What the slice's service replies, if nobody answers quietly."""
        return 0 if self.is_answered_quietly(violation) else self.service(violation)

    def is_answered_quietly(self, violation: EptViolation) -> bool:
        return self.quietly is not None and self.quietly(violation)

    # Its length.

    def instructions(self) -> int:
        """Instructions retired so far, if the slice is running and counted; else 0."""
        return self._retired_before + self._retired() if self._running and self.counted else 0

    def instructions_of(self, vcpu: AmdvVcpu) -> int:
        """Instructions that the current vCPU has retired since its start, those of the running slice among them."""
        return vcpu.instructions + self.instructions()

    def shorten(self, budget: Budget) -> None:
        """The slice ends after so much more, unless it would have ended earlier."""
        if budget.instructions is not None and self.counted:
            limit = self._limit
            limit.value = min(limit.value, self._counter.value + budget.instructions)
            self._left = min(self._left, budget.instructions)
        elif budget.seconds is not None and self._running:
            self._timer.advance(budget.seconds, self._preempt)

    def end_soon(self) -> None:
        """The slice ends right after the exit being serviced."""
        self.preempted = True
        if self.counted:
            self._limit.value = self._counter.value
        else:
            self.kick_hard()

    @property
    def executed(self) -> int:
        """Instructions retired in the slice that has ended, if it was counted."""
        return self._retired_before

    def leave_behind(self) -> None:
        """Leaves the counted code behind the instruction begun last; the slice is continued then."""
        limit = self._limit
        here = min(limit.value, self._counter.value)
        self._left += limit.value - here
        limit.value = here

    def leave_for_event(self) -> None:
        """Leaves the code behind the instruction begun last, of which an event comes; the slice is continued with that."""
        if self.counted:
            self._not_retired -= 1  # `go_on` allows for the VMRUN
            self._limit.value -= 1
            self.leave_behind()
        self._uc.stop()

    def do_not_count(self) -> None:
        """The instruction begun last will be begun again, or is the hypervisor's own. The slice ends if that goes on for ever."""
        if self.counted:
            self._not_retired += 1
            if self._running:
                self._limit.value += 1
                self._note_repetition()

    def _note_repetition(self) -> None:
        """Else nobody could look up: the end of a slice is moved on with each repetition."""
        retired = self._retired_before + self._counter.value - self._not_retired
        if retired != self._repeats_behind:
            self._repeats_behind, self._repetitions = retired, 0
        self._repetitions += 1
        if self._repetitions > _MOST_REPETITIONS:
            self.end_soon()

    def _serve_and_count(self, exit: Exit) -> Reply | None:
        if self._interruptions_left:
            self._count_interruption()
        return self._serve(exit)

    def _count_interruption(self) -> None:
        self._interruptions_left -= 1
        if not self._interruptions_left:
            self.end_soon()

    def _retired(self) -> int:
        return min(self._counter.value, self._limit.value) - self._not_retired

    # Requests.

    def kick(self, request: int) -> None:
        """Makes the CPU look at a request, one of `kev.engine.amdv.delivery`, as soon as it can."""
        self._cpu.interrupt_request.value |= request
        self._leave_block()

    def kick_hard(self) -> None:
        """Makes the CPU exit as soon as it can."""
        self._request_exit(INTERRUPT_SMI if self._spares_critical_sections else INTERRUPT_HARD)

    def _request_exit(self, request: int) -> None:
        # One byte, because the CPU may be changing the others at this moment.
        self._cpu.host_request.value |= request
        self._leave_block()

    def take_back_hard_kick(self) -> None:
        self._cpu.host_request.value &= ~(INTERRUPT_HARD | INTERRUPT_SMI)

    def request_pending(self, vcpu: AmdvVcpu) -> None:
        """Requests of the CPU what waits for `vcpu`, and nothing else."""
        self._cpu.interrupt_request.value = 0
        if self.holds_interrupts:
            return
        if vcpu.nmi:
            self.kick(INTERRUPT_NMI)
        if vcpu.interrupt is not None:
            self.request_interrupt(vcpu.interrupt)

    def request_interrupt(self, vector: int) -> None:
        """Makes the CPU take external interrupt `vector` as soon as the guest allows."""
        self._vmcb.interrupt_vector = vector
        self.kick(INTERRUPT_VIRTUAL)

    def withdraw_interrupt(self) -> None:
        self._cpu.interrupt_request.value &= ~INTERRUPT_VIRTUAL

    def note_pending(self, vcpu: AmdvVcpu) -> None:
        """Notes which of the interrupts that were requested are left, and takes back the request."""
        if self.holds_interrupts:
            return
        self.note_taken(vcpu)
        nmi_waits = bool(self._cpu.interrupt_request.value & INTERRUPT_NMI)
        if vcpu.nmi and not nmi_waits:
            vcpu.note_interrupt(x86.NMI, self.instructions_of(vcpu))
            vcpu.nmi, vcpu.second_nmi = vcpu.second_nmi, False
        self._cpu.interrupt_request.value = 0

    def nmi_waits(self, vcpu: AmdvVcpu) -> bool:
        """An NMI was raised that the CPU has not taken."""
        return vcpu.nmi and (not self.is_executing(vcpu) or bool(self._cpu.interrupt_request.value & INTERRUPT_NMI))

    def has_taken(self, vcpu: AmdvVcpu) -> bool:
        """Whether the CPU has taken an interrupt or NMI that was requested."""
        wanted = (INTERRUPT_NMI if vcpu.nmi else 0) | (0 if vcpu.interrupt is None else INTERRUPT_VIRTUAL)
        return bool(wanted & ~self._cpu.interrupt_request.value)

    def note_taken(self, vcpu: AmdvVcpu) -> None:
        """Notes whether the external interrupt that was requested was taken."""
        if self.holds_interrupts:
            return
        if vcpu.interrupt is not None and not self._cpu.interrupt_request.value & INTERRUPT_VIRTUAL:
            vcpu.interrupt_taken, vcpu.interrupt = vcpu.interrupt, None
            vcpu.note_interrupt(vcpu.interrupt_taken, self.instructions_of(vcpu) if self.counted else 0)

    def _leave_block(self) -> None:
        """Makes the CPU look at what is requested of it, before the next instruction in counted slices, or else the next block.

        Counted code that is told to leave its block does so in the middle of a memory access, which is then made a second time:
        there, the run ends before the next instruction, and is continued with what is left of it.
        """
        if not self.counted:
            self._cpu.leave_chain.value = 0xFFFF
        elif self._running and not self._left and self._counter.value < self._limit.value:
            self._left = self._limit.value - self._counter.value
            self._limit.value = self._counter.value

    def _preempt(self) -> None:
        """The preemption thread calls it when time is over, and again until the slice is."""
        again, self.preempted = self.preempted, True
        if self._running and (again or not self._spares_critical_sections):
            self.kick_hard()
        elif self._running:
            self._request_exit(INTERRUPT_HARD)
