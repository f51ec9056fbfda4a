"""The AMD-V engine: guest code under Unicorn's emulated VMRUN and nested paging.

All vCPUs of a machine are contexts of one Unicorn instance, so that they share translated code and locked instructions stay
atomic. Once VMRUN has entered the guest, the CPU stays in guest mode; an exit is a callback, and going on is returning from it.
"""

from collections.abc import Callable
from typing import Final

from kev.addressing import Gpa, Hpa
from kev.engine.amdv import layout, libunicorn, vmcb
from kev.engine.amdv.control_registers import UMIP
from kev.engine.amdv.delivery import (
    HAS_ERROR_CODE,
    INTERRUPT_HARD,
    INTERRUPT_NMI,
    INTERRUPT_VIRTUAL,
    EventDelivery,
    nested_error_code,
)
from kev.engine.amdv.flags import settle_flags
from kev.engine.amdv.host import Host
from kev.engine.amdv.instructions import INTERCEPTED, finish, vmcall
from kev.engine.amdv.libunicorn import Context, EmulationError
from kev.engine.amdv.linear import AwaitedPage, LinearMemory
from kev.engine.amdv.port_permission import may_access_port
from kev.engine.amdv.port_trap import PortTrap
from kev.engine.amdv.syscall import LENGTH as SYSTEM_CALL_LENGTH
from kev.engine.amdv.syscall import syscall, sysenter
from kev.engine.amdv.vcpu import AmdvVcpu, Event
from kev.engine.amdv.vmcb import Vmcb
from kev.engine.base import Budget, EntryState, Service
from kev.errors import KevError
from kev.exits import (
    GENERAL_PROTECTION,
    INVALID_OPCODE,
    Access,
    EptViolation,
    Exit,
    GuestException,
    IoIn,
    IoOut,
    MmioRead,
    MmioWrite,
    PreemptionTimer,
    Reply,
)
from kev.paging.guest import GuestFault
from kev.paging.table import PageTable

_VMEXIT: Final = 0x100  # Unicorn reports exit code n as interrupt 0x100 + n
_NESTED_PAGE_FAULT: Final = _VMEXIT + vmcb.NPF
_HOST_INTERRUPT: Final = _VMEXIT + vmcb.INTR

_INTERCEPTS: Final = vmcb.SVM_INSTRUCTIONS | {
    vmcb.INTR,
    vmcb.RDTSC,
    vmcb.CPUID,
    vmcb.HLT,
    vmcb.MSR,
    vmcb.SHUTDOWN,
    vmcb.VMMCALL,
    vmcb.MONITOR,
    vmcb.MWAIT,
    vmcb.CR8_READ,
    vmcb.CR4_WRITE,
    vmcb.CR8_WRITE,
}

# Nested page fault error code: bit 1 write, bit 4 instruction fetch.
_ACCESS: Final = tuple(Access.EXECUTE if error & 0x10 else Access.WRITE if error & 2 else Access.READ for error in range(0x20))

_NMI: Final = 2
_VMCALL_BYTES: Final = b"\x0f\x01\xc1"


def _no_service(_exit: Exit) -> None:
    """Stands in until the first run names the machine's own."""


class EngineError(KevError):
    """The guest did what this engine cannot carry out."""


class AmdvEngine:
    """See `kev.engine.base.Engine`."""

    def __init__(self, host: Host, table: PageTable, release: Callable[[Host], None] = Host.close) -> None:
        """Runs a guest on `host`, with the guest-physical memory that `table`, in AMD's format, maps onto the host's.

        `release` is given the host when the guest is over. A host that another guest could tell from a new one is closed instead.
        """
        memory = host.memory
        self._host = host
        self._release = release
        self._closed = False
        self._spoiled = False
        """The guest has left in the host what cannot be taken back."""
        self.uc, self._cpu, _ = host.processor
        self._cpu.whole_instructions.value = 1
        self._vmcb = Vmcb(memory, table.root)
        self._delivery = EventDelivery(self.uc, self._cpu, memory, self._vmcb)
        self.linear = LinearMemory(memory, table, self.ask)
        self._window = memory.size
        self._vcpus: list[AmdvVcpu] = []
        self._vcpu: AmdvVcpu | None = None
        self._service: Service = _no_service
        self._exit: Exit | None = None
        self._preempted = False
        self._counted = False
        self._running = False
        self._not_retired = self._retired_before = self._left = 0
        self._delivering: Event | None = None
        self.first_vector: int | None = None
        self._umip = False
        self._cut_short: tuple[int, EptViolation | None] | None = None
        self._port_trap = PortTrap()
        self.uc.on_interrupt(self._on_interrupt)
        self.uc.on_invalid_instruction(self._on_invalid_instruction)
        self.uc.on_in(self._on_in)
        self.uc.on_out(self._on_out)
        self.uc.on_syscall(self._on_syscall)
        self.uc.on_sysenter(self._on_sysenter)

    # What the machine asks for.

    def create_vcpu(self, index: int) -> AmdvVcpu:
        vcpu = AmdvVcpu(index, Context(self.uc), self)
        self._vcpus.append(vcpu)
        self._write_intercepts()
        return vcpu

    def reset(self, vcpu: AmdvVcpu, entry: EntryState) -> None:
        vcpu.event = vcpu.unpushed = vcpu.interrupt = vcpu.interrupt_taken = None
        vcpu.nmi = False
        self._spoiled |= vcpu.breakpoints_armed
        self._make_current(vcpu)
        self._delivery.prepare_entry(vcpu, entry)
        self._exit = None
        self._delivering = None
        self._emulate(vcpu, 0)

    def run(self, vcpu: AmdvVcpu, budget: Budget, service: Service) -> Exit:
        self._make_current(vcpu)
        self._service = service
        self._exit = None
        self._delivering = None
        self._preempted = False
        self._left = self._not_retired = self._retired_before = 0
        self._choose_counting(budget.instructions is not None)
        if vcpu.unpushed is not None:
            self._push_error_code(vcpu, vcpu.unpushed)
            if self._exit is not None:
                return self._exit
        self._cpu.interrupt_request.value = 0
        if vcpu.nmi:
            self._kick(INTERRUPT_NMI)
        if vcpu.interrupt is not None:
            self._request_interrupt(vcpu.interrupt)
        count = budget.instructions or 0
        if vcpu.event is not None:
            self._deliver(vcpu, vcpu.event)
            count += bool(count)
        if budget.seconds is not None:
            self._host.timer.arm(budget.seconds, self._preempt)
        try:
            self._emulate(vcpu, count)
            while self._exit is None and (self._delivering is not None or self._left and not self._preempted):
                count, self._left = self._left, 0
                if self._delivering is not None:
                    # The event came when the slice was over: VMRUN is still to come.
                    self._not_retired = 1
                    count += 1
                self._emulate(vcpu, count)
        finally:
            self._host.timer.disarm()
            vcpu.instructions += self._retired_before
        if self._cut_short is not None:
            (vcpu.rip, violation), self._cut_short = self._cut_short, None
            if violation is None:
                vcpu.event = Event(GENERAL_PROTECTION)
            else:
                self._note_pending(vcpu)
                return violation
        if self._exit is None:
            self._note_pending(vcpu)
        return self._exit or PreemptionTimer()

    def complete(self, vcpu: AmdvVcpu, exit: Exit, reply: Reply) -> None:
        self._make_current(vcpu)
        if isinstance(reply, GuestException):
            vcpu.event = Event(reply)
        else:
            finish(self, vcpu, exit, reply)

    def yield_soon(self) -> None:
        self._preempted = True
        if self._counted:
            self._cpu.count_limit.value = self._cpu.counter.value
        else:
            self._kick_hard()

    def raise_interrupt(self, vcpu: AmdvVcpu, vector: int | None) -> None:
        vcpu.interrupt = vector
        if not self._is_executing(vcpu):
            return
        if vector is None:
            self._cpu.interrupt_request.value &= ~INTERRUPT_VIRTUAL
        else:
            self._request_interrupt(vector)

    def interrupt_taken(self, vcpu: AmdvVcpu) -> int | None:
        if self._is_executing(vcpu):
            self._note_taken(vcpu)
        taken, vcpu.interrupt_taken = vcpu.interrupt_taken, None
        return taken

    def raise_nmi(self, vcpu: AmdvVcpu) -> None:
        vcpu.nmi = True
        if self._is_executing(vcpu):
            self._kick(INTERRUPT_NMI)

    def inject(self, vcpu: AmdvVcpu, exception: GuestException) -> None:
        vcpu.event = Event(exception)

    def invalidate(self, gpa: Gpa) -> None:
        self.linear.forget()
        self.forget_translations()

    def forget_code(self) -> None:
        """Executed pages were written behind the CPU's back: translate their code anew."""
        self.uc.flush_code()

    def map_window(self, gpa: Gpa, length: int) -> Hpa:
        """A host-physical range whose loads and stores become MMIO exits for the guest-physical range at `gpa`."""
        start = self._window
        self._window += length
        base = int(gpa)

        def load(_uc: int, offset: int, size: int, _data: object) -> int:
            return self._answer(MmioRead(Gpa(base + offset), size)) & (1 << 8 * size) - 1

        def store(_uc: int, offset: int, size: int, value: int, _data: object) -> None:
            self._answer(MmioWrite(Gpa(base + offset), size, value & (1 << 8 * size) - 1))

        self.uc.map_device(start, length, load, store)
        return Hpa(start)

    def instructions_in_slice(self) -> int:
        """Instructions retired so far in the slice that is running, if it is counted; else 0."""
        return self._retired_before + self._retired() if self._running and self._counted else 0

    def shorten(self, budget: Budget) -> None:
        if budget.instructions is not None and self._counted:
            limit = self._cpu.count_limit
            limit.value = min(limit.value, self._cpu.counter.value + budget.instructions)
            self._left = min(self._left, budget.instructions)
        elif budget.seconds is not None and self._running:
            self._host.timer.advance(budget.seconds, self._preempt)

    def read_rflags(self, vcpu: AmdvVcpu) -> int:
        self._make_current(vcpu)
        return self.uc.read_register(libunicorn.REG_EFLAGS)

    def translate(self, vcpu: AmdvVcpu, gva: int) -> Gpa | None:
        """The guest-physical address behind `gva`, or None if the guest's tables or their pages are not there."""
        return self.linear.look_up(vcpu, gva)

    def close(self) -> None:
        """The guest is over. Its vCPUs' registers can still be read, and nothing else."""
        if self._closed:
            return
        self._closed = True
        if self._vcpu is not None:
            self._put_aside(self._vcpu)
        self.uc.disconnect()
        if self._spoiled or any(vcpu.breakpoints_armed for vcpu in self._vcpus):
            self._host.close()
        else:
            self._release(self._host)

    # Running.

    def _is_executing(self, vcpu: AmdvVcpu) -> bool:
        """It is the one on the CPU, and its slice has not been ended yet."""
        return vcpu is self._vcpu and self._running and self._exit is None

    def set_umip(self, enabled: bool) -> None:
        """CR4.UMIP of the current vCPU is `enabled`: SGDT and its like have to exit, or not."""
        if enabled != self._umip:
            self._umip = enabled
            self._write_intercepts()

    def store(self, vcpu: AmdvVcpu, linear: int, data: bytes) -> bool:
        """Writes to guest memory for an emulated instruction; False if a page fault is on its way, or the slice has ended."""
        try:
            self.linear.write(vcpu, linear, data)
        except GuestFault as fault:
            self.raise_exception(vcpu, fault.exception)
            return False
        except AwaitedPage as awaited:
            self.stop(awaited.violation)
            return False
        return True

    def forget_translations(self) -> None:
        """Empties the translation look-aside buffer, guest and nested."""
        self._delivery.flush_tlb()

    def _put_aside(self, vcpu: AmdvVcpu) -> None:
        """Moves the registers of the current vCPU from the CPU to its context."""
        self.uc.save(vcpu.context)
        vcpu.detach()
        self._vcpu = None

    def _make_current(self, vcpu: AmdvVcpu) -> None:
        current = self._vcpu
        if current is vcpu:
            return
        if current is not None:
            self._put_aside(current)
        self.uc.restore(vcpu.context)
        vcpu.attach(self._cpu.quads, self._cpu.words)
        self.forget_translations()
        self._vcpu = vcpu
        self.set_umip(bool(vcpu.cr4 & UMIP))

    def _emulate(self, vcpu: AmdvVcpu, count: int) -> None:
        self._running = True
        if self._preempted:
            self._kick_hard()  # the preemption thread came before the slice had begun
        try:
            self.uc.run(vcpu.rip, count)
        except EmulationError as error:
            if self._exit is None:
                self._spoiled = True
                raise EngineError(f"vCPU {vcpu.index} at RIP {vcpu.rip:#x}: {error}") from error
        except BaseException:
            self._spoiled = True
            raise
        finally:
            self._running = False
            if self._counted:
                self._retired_before += self._retired()
                self._not_retired = 0

    def _retired(self) -> int:
        return min(self._cpu.counter.value, self._cpu.count_limit.value) - self._not_retired

    def _choose_counting(self, counted: bool) -> None:
        if counted != self._counted:
            # Counting is compiled into translated code, and so are the places where it can be left.
            self.uc.flush_code()
            self._counted = counted
            self._cpu.whole_instructions.value = not counted

    def _write_intercepts(self) -> None:
        codes = _INTERCEPTS
        if len(self._vcpus) > 1:
            codes |= {vmcb.PAUSE}
        if self._umip:
            codes |= vmcb.FORBIDDEN_BY_UMIP
        quads = self._cpu.quads
        # Until the next VMRUN, the CPU goes by its own copy.
        quads[layout.INTERCEPT_REGISTERS >> 3], quads[layout.INTERCEPT >> 3] = self._vmcb.intercept(codes)

    def stop(self, exit: Exit) -> None:
        """Ends the slice with `exit`. Interrupts wait for the next slice: else the CPU would take them on its way out."""
        vcpu = self._vcpu
        assert vcpu is not None
        self._note_pending(vcpu)
        self._exit = exit
        self.uc.stop()

    def _kick(self, request: int) -> None:
        self._cpu.interrupt_request.value |= request
        self._leave_block()

    def _kick_hard(self) -> None:
        # One byte, because the CPU may be changing the others at this moment.
        self._cpu.host_request.value |= INTERRUPT_HARD
        self._leave_block()

    def _leave_block(self) -> None:
        """Makes the CPU look at what is requested of it, before the next instruction in counted slices, or else the next block.

        Counted code that is told to leave its block does so in the middle of a memory access, which is then made a second time:
        there, the run ends before the next instruction, and is continued with what is left of it.
        """
        if not self._counted:
            self._cpu.leave_chain.value = 0xFFFF
        elif self._running and not self._left:
            self._left = self._cpu.count_limit.value - self._cpu.counter.value
            self._cpu.count_limit.value = self._cpu.counter.value

    def _preempt(self) -> None:
        self._preempted = True
        if self._running:
            self._kick_hard()

    def _request_interrupt(self, vector: int) -> None:
        self._vmcb.interrupt_vector = vector
        self._kick(INTERRUPT_VIRTUAL)

    def _note_pending(self, vcpu: AmdvVcpu) -> None:
        """Notes which of the interrupts that were requested are left, and takes back the request."""
        self._note_taken(vcpu)
        vcpu.nmi = bool(self._cpu.interrupt_request.value & INTERRUPT_NMI)
        self._cpu.interrupt_request.value = 0

    def _note_taken(self, vcpu: AmdvVcpu) -> None:
        if vcpu.interrupt is not None and not self._cpu.interrupt_request.value & INTERRUPT_VIRTUAL:
            vcpu.interrupt_taken, vcpu.interrupt = vcpu.interrupt, None

    def ask(self, exit: Exit) -> Reply | None:
        return self._service(exit)

    def _answer(self, exit: Exit) -> int:
        reply = self.ask(exit)
        if type(reply) is not int:
            raise EngineError(f"{exit} cannot be put off or refused: the instruction is half-way through")
        return reply

    def _do_not_count(self) -> None:
        """The instruction begun last will be begun again, or is the hypervisor's own."""
        if self._counted:
            self._not_retired += 1
            if self._running:
                self._cpu.count_limit.value += 1

    # Events.

    def raise_exception(self, vcpu: AmdvVcpu, exception: GuestException, instruction_length: int = 0) -> None:
        self.first_vector = exception.vector
        self._deliver(vcpu, Event(exception, instruction_length))

    def _deliver(self, vcpu: AmdvVcpu, event: Event) -> None:
        """Leads the CPU through VMRUN into the guest's handler."""
        vcpu.event = self._delivering = event
        self._do_not_count()
        self._delivery.prepare_event(vcpu, event)

    def _on_host_interrupt(self, vcpu: AmdvVcpu) -> None:
        self._cpu.interrupt_request.value &= ~INTERRUPT_HARD
        event = self._delivering
        if self._exit is not None:
            return
        if event is not None:
            if not self._delivery.finish_event(vcpu):
                self._deliver(vcpu, event)
                return
            self._finish_delivery(vcpu, event)
            if self._exit is not None or not self._preempted:
                return
        self.stop(PreemptionTimer())

    def _finish_delivery(self, vcpu: AmdvVcpu, event: Event) -> None:
        vcpu.event = self._delivering = None
        if event.exception.vector in HAS_ERROR_CODE and not event.instruction_length and vcpu.protected_mode:
            self._push_error_code(vcpu, event.exception)

    def _push_error_code(self, vcpu: AmdvVcpu, exception: GuestException) -> None:
        vcpu.unpushed = None
        try:
            self.linear.push(vcpu, exception.vector, exception.error_code or 0)
        except GuestFault:
            self.raise_exception(vcpu, GuestException(8, 0))
        except AwaitedPage as awaited:
            vcpu.unpushed = exception
            self.stop(awaited.violation)

    def _on_guest_exception(self, vcpu: AmdvVcpu, vector: int) -> None:
        software = bool(vcpu.words[layout.EXCEPTION_IS_INT >> 2])
        vcpu.words[layout.EXCEPTION_IS_INT >> 2] = 0
        error_code = vcpu.words[layout.ERROR_CODE >> 2] if vector in HAS_ERROR_CODE else None
        delivering = self._delivering or self._interrupt_on_its_way()
        if delivering is not None:
            if delivering.instruction_length:
                vcpu.rip -= delivering.instruction_length
            self._deliver(vcpu, Event(GuestException(vector, nested_error_code(vcpu, delivering, vector, error_code))))
        elif software:
            self._software_interrupt(vcpu, vector)
        else:
            self.raise_exception(vcpu, GuestException(vector, error_code))

    def _interrupt_on_its_way(self) -> Event | None:
        """The interrupt that the CPU was delivering by itself when an exception came in between. It stays requested."""
        vector = self._vmcb.take_injection()
        if vector is None:
            return None
        self.first_vector = vector
        return Event(GuestException(vector))

    def _begin_nmi_again(self, vcpu: AmdvVcpu) -> None:
        """A violation came while the CPU delivered an interrupt by itself. If it was an NMI, it is taken for delivered."""
        if self._vmcb.take_injection() == _NMI:
            vcpu.nmi_blocked = False
            self._kick(INTERRUPT_NMI)

    def _software_interrupt(self, vcpu: AmdvVcpu, vector: int) -> None:
        """INT n, INT3, INTO: RIP is past the instruction already."""
        before = vcpu.cs.base + vcpu.rip - 1
        length = 1 if vector in (3, 4) and self.linear.peek(vcpu, before, 1) in (b"\xcc", b"\xce") else 2
        try:
            gate_level = self.linear.gate_privilege_level(vcpu, vector)
        except AwaitedPage as awaited:
            vcpu.rip -= length
            self.stop(awaited.violation)
            return
        if gate_level is not None and gate_level < vcpu.cpl:
            vcpu.rip -= length
            self.raise_exception(vcpu, GuestException(13, vector << 3 | 2))
        else:
            self.raise_exception(vcpu, GuestException(vector), length)

    # Callbacks from the CPU.

    def _on_interrupt(self, _uc: int, number: int, _data: object) -> None:
        vcpu = self._vcpu
        assert vcpu is not None
        if self._counted:
            settle_flags(vcpu.quads, vcpu.words)
        if self._cut_short is not None:
            self._end_cut_short(vcpu)
        elif number < _VMEXIT:
            self._on_guest_exception(vcpu, number)
        elif number == _NESTED_PAGE_FAULT:
            self._on_nested_page_fault(vcpu)
        elif number == _HOST_INTERRUPT:
            self._on_host_interrupt(vcpu)
        else:
            self._on_instruction(vcpu, number - _VMEXIT)

    def _on_nested_page_fault(self, vcpu: AmdvVcpu) -> None:
        error = vcpu.words[layout.ERROR_CODE >> 2]
        if vcpu.quads[layout.FAULTING_CODE >> 3]:
            self._do_not_count()
        elif self._delivering is None:
            self._begin_nmi_again(vcpu)
        exit = EptViolation(Gpa(self._vmcb.exit_info_2), _ACCESS[error & 0x1F], bool(error & 1))
        reply = self._service(exit)
        if reply is None:
            self.stop(exit)
        elif self._delivering is not None:
            self._deliver(vcpu, self._delivering)

    def _on_instruction(self, vcpu: AmdvVcpu, code: int) -> None:
        handler = INTERCEPTED.get(code)
        if handler is None:
            raise EngineError(f"vCPU {vcpu.index} at RIP {vcpu.rip:#x}: exit code {code:#x} is not known")
        handler(self, vcpu)
        self._deliver_pending(vcpu)

    def _deliver_pending(self, vcpu: AmdvVcpu) -> None:
        """A single-step trap that an emulated instruction left behind."""
        if vcpu.event is not None and self._delivering is None and self._exit is None:
            self.raise_exception(vcpu, vcpu.event.exception)

    def _on_invalid_instruction(self, _uc: int, _data: object) -> bool:
        """#UD, INT 6, which Unicorn takes for the same, and VMCALL, which an AMD processor does not know."""
        vcpu = self._vcpu
        assert vcpu is not None
        if self._counted:
            settle_flags(vcpu.quads, vcpu.words)
        if self._cut_short is not None:
            self._end_cut_short(vcpu)
        elif vcpu.words[layout.EXCEPTION_IS_INT >> 2]:
            vcpu.words[layout.EXCEPTION_IS_INT >> 2] = 0
            vcpu.rip = vcpu.quads[layout.EXCEPTION_NEXT_EIP >> 3]
            self._software_interrupt(vcpu, INVALID_OPCODE.vector)
        elif self._delivering is None and self.linear.peek(vcpu, vcpu.cs.base + vcpu.rip, 3) == _VMCALL_BYTES:
            vmcall(self, vcpu)
            self._deliver_pending(vcpu)
        else:
            self.raise_exception(vcpu, INVALID_OPCODE)
        return True

    def _on_syscall(self, _uc: int, _data: object) -> None:
        self._system_call(syscall)

    def _on_sysenter(self, _uc: int, _data: object) -> None:
        self._system_call(sysenter)

    def _system_call(self, instruction: Callable[[AmdvVcpu], GuestException | None]) -> None:
        vcpu = self._vcpu
        assert vcpu is not None
        if self._counted:
            settle_flags(vcpu.quads, vcpu.words)
        exception = instruction(vcpu)
        if exception is not None:
            self.raise_exception(vcpu, exception)
            vcpu.rip -= SYSTEM_CALL_LENGTH  # the CPU still moves it past the instruction

    def _on_in(self, _uc: int, port: int, size: int, _data: object) -> int:
        return 0 if self._refuse_port(port, size) else self._answer(IoIn(port, size))

    def _on_out(self, _uc: int, port: int, size: int, value: int, _data: object) -> None:
        if not self._refuse_port(port, size):
            self._answer(IoOut(port, size, value & (1 << 8 * size) - 1))

    def _refuse_port(self, port: int, size: int) -> bool:
        """Whether the guest's IOPL and I/O permission map forbid the access, which the emulated CPU does not check.

        The instruction cannot be left half-way. It is taken back behind the access, or else at the end of its block.
        """
        vcpu = self._vcpu
        assert vcpu is not None
        if self._cut_short is not None:
            return True
        try:
            if may_access_port(vcpu, self.linear, port, size):
                return False
            self._cut_short = vcpu.rip, None
        except AwaitedPage as awaited:
            self._cut_short = vcpu.rip, awaited.violation
        if not self._port_trap.plant(vcpu, port):
            self._kick_hard()
        return True

    def _end_cut_short(self, vcpu: AmdvVcpu) -> None:
        assert self._cut_short is not None
        (vcpu.rip, violation), self._cut_short = self._cut_short, None
        self._port_trap.remove(vcpu)
        self._cpu.host_request.value &= ~INTERRUPT_HARD
        vcpu.words[layout.EXCEPTION_IS_INT >> 2] = 0
        if violation is None:
            self.raise_exception(vcpu, GENERAL_PROTECTION)
        else:
            self.stop(violation)

    def reply_or_stop(self, vcpu: AmdvVcpu, exit: Exit) -> Reply | None:
        """The reply that finishes `exit`; None if an exception is on its way instead, or the slice ends."""
        reply = self._service(exit)
        if reply is None:
            self.stop(exit)
        elif isinstance(reply, GuestException):
            self.raise_exception(vcpu, reply)
            return None
        return reply
