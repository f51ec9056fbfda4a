"""The AMD-V engine: guest code under Unicorn's emulated VMRUN and nested paging.

All vCPUs of a machine are contexts of one Unicorn instance, so that they share translated code and locked instructions stay
atomic. Once VMRUN has entered the guest, the CPU stays in guest mode; an exit is a callback, and going on is returning from it.
"""

import ctypes
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Final

from kev import x86
from kev.addressing import PAGE_MASK, PAGE_SIZE, TIB, Gpa, Hpa, page_offset
from kev.engine.amdv import blocks, fpu, layout, libunicorn
from kev.engine.amdv.cpu_exits import CpuExits
from kev.engine.amdv.debug_registers import data_breakpoints
from kev.engine.amdv.delivery import INTERRUPT_NMI, EventDelivery
from kev.engine.amdv.errors import EngineError
from kev.engine.amdv.events import Events
from kev.engine.amdv.host import Host
from kev.engine.amdv.instructions import finish
from kev.engine.amdv.intercepts import Intercepts
from kev.engine.amdv.libunicorn import Context, Hook
from kev.engine.amdv.linear import LinearMemory, stack_slot
from kev.engine.amdv.port_blocks import Block, PortBlocks
from kev.engine.amdv.shortcuts import NATIVE, Shortcuts
from kev.engine.amdv.slice import UNLIMITED, Slice
from kev.engine.amdv.translated_code import TranslatedCode
from kev.engine.amdv.vcpu import HFLAGS_IO_BREAKPOINTS, AmdvVcpu, Event, SavedVcpu
from kev.engine.amdv.vmcb import Vmcb
from kev.engine.base import AccessObserver, Budget, EntryState, InstructionObserver, Service
from kev.engine.registers import FpuState
from kev.exits import Access, EptViolation, Exit, GuestException, Hlt, MmioRead, MmioWrite, PreemptionTimer, Reply
from kev.page_tables.table import PageTable
from kev.pager.protocols import AlikePages

if TYPE_CHECKING:
    from kev.engine.amdv.counting import Counting

_PLACE: Final = slice(layout.GENERAL_REGISTERS >> 3, (layout.RIP >> 3) + 1)
_CR3: Final = (layout.CONTROL_REGISTERS >> 3) + 3
_WINDOWS_END: Final = TIB
"""Where the CPU's physical address space ends: windows of devices grow down from there."""


class AmdvEngine:
    """See `kev.engine.base.Engine`."""

    def __init__(
        self,
        host: Host,
        table: PageTable,
        release: Callable[[Host], None] = Host.close,
        *,
        native: ctypes.CDLL | None = NATIVE,
        counting: ctypes.CDLL | None = None,
    ) -> None:
        """Runs a guest on `host`, with the guest-physical memory that `table`, in AMD's format, maps onto the host's.

        `release` is given the host when the guest is over. A host that another guest could tell from a new one is closed instead.
        `native` is what takes shortcuts, or None for Python, and for no other native code either. `counting` is
        `kev.engine.amdv.counting.NATIVE`, or None: then Unicorn counts instructions.
        """
        memory = host.memory
        self._host = host
        self._table = table
        self._release = release
        self._native = native is not None
        self._closed = False
        self._offers = False
        """Pages were offered."""
        self._filled_before = host.fills.filled
        self._filled = self._filled_counted = 0
        self._spoiled = False
        """The guest has left in the host what cannot be taken back."""
        self._window = _WINDOWS_END
        """The lowest host-physical address of a window."""
        self._vcpus: list[AmdvVcpu] = []
        self._counts_natively = False
        """Counted slices may be counted by `self._counting`."""
        self._traces_accesses = False
        self._breakpoints: frozenset[int] = frozenset()
        self._watchpoints: tuple[tuple[range, Access], ...] = ()
        self._uc, cpu, _ = host.processor
        self._cpu = cpu
        vmcb = Vmcb(memory, table.root)
        self._delivery = EventDelivery(self._uc, cpu, memory, vmcb)
        self._structures = (table.root, vmcb.address)
        """What the registers of vCPUs refer to."""
        self._counting = self._uc.counter = self._make_counting(counting, vmcb.event_injection)
        self._slice = Slice(self._uc, cpu, vmcb, host.timer, self._counting)
        self.instructions_in_slice = self._slice.instructions
        self._linear = LinearMemory(memory, table, self._slice.ask, self._slice.is_answered_quietly)
        self._intercepts = Intercepts(cpu, vmcb)
        self._shortcuts = Shortcuts(self._uc, cpu, self._intercepts, native)
        self._events = Events(self._slice, self._delivery, self._linear, vmcb)
        if native is None:
            host.fills.stop()
        else:
            host.fills.start()
        self._code = TranslatedCode(host, table, self._linear, self._slice, native=native is not None)
        self._linear.stored = self._code.stored
        self._port_blocks = PortBlocks(memory, self._linear, self._code)
        self._exits = CpuExits(
            self._uc, self._slice, self._events, self._linear, self._intercepts, self._code, vmcb, cpu, host.fills
        )

    def _make_counting(self, library: ctypes.CDLL | None, injected: int) -> "Counting | None":
        if library is None:
            return None
        from kev.engine.amdv.counting import Counting

        return Counting(library, self._uc, self._cpu, self._host.memory, injected)

    def create_vcpu(self, index: int) -> AmdvVcpu:
        vcpu = AmdvVcpu(index, Context(self._uc), self)
        self._vcpus.append(vcpu)
        if len(self._vcpus) > 1:
            self._intercepts.watch_pauses(True)
        return vcpu

    def reset(self, vcpu: AmdvVcpu, entry: EntryState) -> None:
        vcpu.event = vcpu.unpushed = vcpu.interrupt = vcpu.interrupt_taken = None
        vcpu.nmi = vcpu.second_nmi = vcpu.is_edited = vcpu.shows_rf = False
        vcpu.breakpoint = None
        vcpu.held_data_hits = 0
        vcpu.xcr0 = x86.XCR0_RESET
        self._spoiled |= vcpu.breakpoints_armed
        self._make_current(vcpu)
        self._delivery.prepare_entry(vcpu, entry)
        self._slice.exit = None
        self._events.delivering = None
        self._slice.enter_guest(vcpu)
        if self._counting is not None and not self._counts_natively:
            self._counts_natively = self._counting.is_sure(self._delivery.vmrun)
        self._find_blocks()
        self._intercepts.follow(vcpu)
        self._follow_data_breakpoints(vcpu)

    def _find_blocks(self) -> None:
        """The CPU has just executed a VMRUN: what it has translated can be looked for."""
        uc, events = self._uc.handle, self._events
        if events.all_blocks is None and blocks.are_found(uc, self._cpu.cpu, self._delivery.vmrun):
            cpu, fills = self._cpu.cpu, self._host.fills
            events.all_blocks = lambda: blocks.all_blocks(uc)
            events.return_to_branch = lambda: blocks.return_to_branch(uc, cpu, fills.stack)

    def run(self, vcpu: AmdvVcpu, budget: Budget, service: Service) -> Exit:
        if vcpu.nmi and vcpu.interrupt_shadow and vcpu.event is None and not budget.stops_at_events:
            exit, left = self._leave_shadow(vcpu, budget, service)
            if left is None:
                return exit
            budget = left
        self._make_current(vcpu)
        if vcpu.is_edited:
            self._load(vcpu)
        slice, events, stops = self._slice, self._events, self._exits.debug_stops
        counted = stops is not None or budget.instructions is not None
        self._code.settle(counted=counted)
        natively = self._counts_natively and counted and stops is None and self._ends_by_count(vcpu, budget)
        slice.begin(service, counted=counted, natively=natively)
        if budget.interruptions is not None:
            slice.limit_interruptions(budget.interruptions)
        if counted:
            self._shortcuts.close()
        elif self._shortcuts.shown != vcpu.index:
            self._shortcuts.open(vcpu.index)
        if not counted:
            self._shortcuts.limit_loads(budget.kept_loads)
        if self._offers:
            self._host.fills.take_offers(self._shortcuts.shown is not None and slice.quietly is None)
            self._host.memory.promote()
        if stops is not None:
            stops.begin(vcpu)
        if budget.stops_at_events:
            slice.stop_at_events(vcpu)
        events.delivering = None
        if vcpu.unpushed is not None:
            events.push_error_code(vcpu, vcpu.unpushed)
            if slice.exit is not None:
                return slice.exit
        slice.request_pending(vcpu)
        count = budget.instructions or (0 if stops is None else UNLIMITED)
        if stops is not None and stops.holds_back:
            count = 1
        if vcpu.event is not None:
            events.deliver(vcpu, vcpu.event)
            count += bool(count)
        if budget.seconds is not None:
            slice.arm_timer(budget.seconds)
            if len(self._vcpus) > 1:
                slice.spare_critical_sections(vcpu)
        handler = self._stop_at_handler(vcpu) if slice.stops_at_events and not slice.holds_interrupts else None
        try:
            slice.emulate(vcpu, count)
            self._go_on(vcpu)
        except EngineError:
            self._refuse_fetch(vcpu)
            raise
        finally:
            slice.finish(vcpu)
            if handler is not None:
                self._uc.remove(handler)
        exit = self._outcome(vcpu)
        return exit if stops is None else stops.outcome(vcpu, exit)

    def _leave_shadow(self, vcpu: AmdvVcpu, budget: Budget, service: Service) -> tuple[Exit, Budget | None]:
        """Executes the instruction behind STI or MOV SS, before which the CPU would take an NMI, and says what is left of `budget`.

        Intel SDM vol. 3, "Nonmaskable interrupt (NMI)" and "Masking exceptions and interrupts when switching stacks".
        """
        vcpu.nmi = False
        try:
            exit = self.run(vcpu, budget._replace(instructions=1), service)
        finally:
            vcpu.nmi = True
        if type(exit) is Hlt:
            exit = PreemptionTimer()  # the NMI ends it at once
        if type(exit) is not PreemptionTimer or self._slice.preempted or budget.instructions == 1:
            return exit, None
        if budget.interruptions is not None:
            budget = budget._replace(interruptions=self._slice.interruptions_left)
        return exit, budget if budget.instructions is None else budget._replace(instructions=budget.instructions - 1)

    def run_out(self, vcpu: AmdvVcpu, instructions: int, service: Service) -> Exit | None:
        slice = self._slice
        if (
            not slice.counted_natively
            or slice.vcpu is None
            or not vcpu.is_quiet
            or vcpu.modes != self._intercepts.modes
            or self._exits.debug_stops is not None
            or self._traces_accesses
            or self._spoiled
            or self._code.is_due
            or self._shortcuts.shown is not None
        ):
            return self.run(vcpu, Budget(instructions=instructions), service)
        self._events.delivering = None
        try:
            if slice.run_out(vcpu, instructions, service):
                vcpu.instructions += instructions
                return None
            self._go_on(vcpu)
        except EngineError:
            self._refuse_fetch(vcpu)
            raise
        slice.finish(vcpu)
        return self._outcome(vcpu)

    def _go_on(self, vcpu: AmdvVcpu) -> None:
        """Executes what is left of a slice that was interrupted."""
        slice, events, stops = self._slice, self._events, self._exits.debug_stops
        self._exits.settle(vcpu)
        while slice.exit is None and (events.delivering is not None or slice.is_interrupted()):
            if stops is not None:
                stops.look_again(vcpu)
            slice.go_on(vcpu, with_event=events.delivering is not None)
            self._exits.settle(vcpu)

    def _outcome(self, vcpu: AmdvVcpu) -> Exit:
        """What the slice that is over came to."""
        slice = self._slice
        self._exits.take_back_cr3(vcpu)
        violation = self._exits.take_back_port_access(vcpu)
        if violation is not None or slice.exit is None:
            slice.note_pending(vcpu)
        if type(slice.exit) is Hlt and vcpu.nmi and not vcpu.nmi_blocked:
            return PreemptionTimer()  # the NMI ends it at once
        return violation or slice.exit or PreemptionTimer()

    def _ends_by_count(self, vcpu: AmdvVcpu, budget: Budget) -> bool:
        """Nobody is called before instructions, and nobody else ends the slice in the middle of a block."""
        if budget.seconds is not None or self._spoiled or self._traces_accesses or vcpu.breakpoints_armed:
            return False
        return not budget.stops_at_events or vcpu.event is not None or not vcpu.takes_interrupts

    def _refuse_fetch(self, vcpu: AmdvVcpu) -> None:
        """If it was a fetch from a window that the CPU could not carry out, the machine is told as of any fetch, and raises."""
        place = vcpu.instruction_address
        for address in (place, (place | PAGE_MASK) + 1):
            gpa = self._linear.look_up(vcpu, address)
            hpa = None if gpa is None else self._table.translate(gpa)
            if gpa is not None and hpa is not None and hpa >= self._host.memory.size:
                self._slice.service(EptViolation(gpa, Access.EXECUTE, present=True))

    def _stop_at_handler(self, vcpu: AmdvVcpu) -> Hook:
        """Ends the slice when the CPU has taken by itself what was requested."""
        slice = self._slice

        def before_instruction(*_: object) -> None:
            if vcpu.in_guest_mode and slice.has_taken(vcpu):
                slice.do_not_count()
                slice.stop(vcpu, PreemptionTimer())

        hook = self._uc.on_instructions(before_instruction)
        self._uc.flush_code()
        return hook

    def complete(self, vcpu: AmdvVcpu, exit: Exit, reply: Reply) -> None:
        self._make_current(vcpu)
        if isinstance(reply, GuestException):
            vcpu.event = Event(reply)
        else:
            finish(self._linear, vcpu, exit, reply)

    def intercept_cr3_writes(self) -> None:
        self._intercepts.expect_cr3_writes()

    def intercept_msrs(self) -> None:
        self._intercepts.expect_msrs()

    def permit_cr4(self, bits: int) -> None:
        self._exits.permitted_cr4 |= bits

    def intercept_invalid_opcodes(self) -> None:
        self._exits.tells_invalid_opcodes = True

    def withhold_efer(self, bits: int) -> None:
        self._exits.withheld_efer |= bits

    def yield_soon(self) -> None:
        self._slice.end_soon()

    def place(self, vcpu: AmdvVcpu) -> int:
        quads, (stack, _) = vcpu.quads, stack_slot(vcpu, 0)
        top = self._linear.peek(vcpu, stack, PAGE_SIZE - page_offset(stack))
        return hash((bytes(quads[_PLACE]), quads[_CR3], top))

    def raise_interrupt(self, vcpu: AmdvVcpu, vector: int | None) -> None:
        vcpu.interrupt = vector
        if not self._slice.is_executing(vcpu):
            return
        if vector is None:
            self._slice.withdraw_interrupt()
        else:
            self._slice.request_interrupt(vector)

    def interrupt_taken(self, vcpu: AmdvVcpu) -> int | None:
        if self._slice.is_executing(vcpu):
            self._slice.note_taken(vcpu)
        taken, vcpu.interrupt_taken = vcpu.interrupt_taken, None
        return taken

    def raise_nmi(self, vcpu: AmdvVcpu) -> None:
        if self._slice.nmi_waits(vcpu) and not vcpu.nmi_blocked:
            vcpu.second_nmi = True  # a processor would have taken the first by now
        vcpu.nmi = True
        if self._slice.is_executing(vcpu):
            self._slice.kick(INTERRUPT_NMI)

    def inject(self, vcpu: AmdvVcpu, exception: GuestException) -> None:
        vcpu.event = Event(exception)

    def invalidate(self, gpa: Gpa) -> None:
        self._linear.forget()
        self._uc.flush_tlb()
        self._code.unmapped(gpa)

    def written(self, hpa: int) -> None:
        self._code.written(hpa)

    def answer_quietly(self, answer: Callable[[EptViolation], bool]) -> None:
        self._slice.quietly = answer

    def forget_mappings(self) -> None:
        self._linear.forget()
        self._host.fills.renew(self._uc.flush_tlb)

    def refilled(self, frames: Collection[int]) -> None:
        self.forget_mappings()
        self._code.refilled(frames)

    def save_vcpu(self, vcpu: AmdvVcpu) -> SavedVcpu:
        if vcpu is self._slice.vcpu:
            self._uc.save(vcpu.context)
        return vcpu.save(self._structures)

    def load_vcpu(self, vcpu: AmdvVcpu, saved: object) -> None:
        assert isinstance(saved, SavedVcpu)
        if saved.structures != self._structures:
            raise EngineError(
                f"vCPU {vcpu.index}: its host has the structures of AMD-V at other addresses than the one that was saved"
            )
        if vcpu.breakpoints_armed:
            self.write_debug_register(vcpu, 7, 0)
        if vcpu is self._slice.vcpu:
            self._slice.put_aside(vcpu)
        # A guest that died has left behind what it died of.
        self._delivery.forget_event()
        self._events.first_vector = None if saved.event is None else saved.event[0].vector
        vcpu.load(saved)
        if saved.armed:
            self.write_debug_register(vcpu, 7, saved.armed)

    def map_window(self, gpa: Gpa, length: int, planes: int = 0) -> Hpa:
        """A host-physical range, whose accesses become MMIO exits for the guest's range at `gpa`. EngineError if there is no room.

        It must be mapped with all permissions: the CPU does not survive a guest's page table in a page without execution. Nor does
        it fetch instructions from a window.
        """
        start = self._window - length
        if start < self._host.windows_start:
            raise EngineError(f"gpa {gpa:#x}: the guest uses too many device pages")
        self._window = start
        base = int(gpa)

        def load(_uc: int, offset: int, size: int, _data: object) -> int:
            return self._exits.answer(MmioRead(Gpa(base + offset), size)) & (1 << 8 * size) - 1

        def store(_uc: int, offset: int, size: int, value: int, _data: object) -> None:
            self._exits.answer(MmioWrite(Gpa(base + offset), size, value & (1 << 8 * size) - 1))

        if planes and self._native and self._uc.counter is None:
            self._shortcuts.map_planes(start, length, planes, load, store)
        elif length == PAGE_SIZE:
            self._shortcuts.map_device(start, base, load, store)
        else:
            self._uc.map_device(start, length, load, store)
        return Hpa(start)

    def find_iterations(self, port: int, size: int, length: int, *, stores: bool) -> Block | None:
        vcpu = self._slice.vcpu
        if self._shortcuts.shown is None or vcpu is None:
            return None
        return self._port_blocks.find(vcpu, port, size, length, stores=stores)

    def tell_pauses(self, enabled: bool) -> None:
        self._intercepts.watch_pauses(enabled)

    def take_shortcuts(self, exits: dict[type, int] | None) -> None:
        self.count_shortcuts()
        self._shortcuts.take(exits)
        self._host.fills.take_offers(False)

    def count_shortcuts(self) -> None:
        self._shortcuts.count()
        filled = self.pages_filled()
        self._shortcuts.count_exits(EptViolation, filled - self._filled_counted)
        self._filled_counted = filled

    def offer_pages(self, gpa: Gpa, hpa: Hpa, pages: Sequence[AlikePages], states: bytearray) -> None:
        if self._native and self._host.fills.offer(gpa, self._table.page_entry(hpa), pages, states):
            self._offers = True

    def withdraw_pages(self) -> None:
        if self._offers:
            self._offers = False
            self._host.fills.take_offers(False)
            self._host.fills.withdraw()

    def pages_filled(self) -> int:
        return self._filled if self._closed else self._host.fills.filled - self._filled_before

    def set_time_stamp_counter(self, vcpu: AmdvVcpu, offset: int) -> None:
        self._shortcuts.set_counter(vcpu.index, offset)

    def keep_load(self, vcpu: AmdvVcpu, gpa: Gpa, value: int) -> None:
        self._shortcuts.keep_load(vcpu.index, gpa, value)

    def keep_count(self, vcpu: AmdvVcpu, gpa: Gpa, deadline: int, divisor: int, period: int) -> None:
        self._shortcuts.keep_count(vcpu.index, gpa, deadline, divisor, period)

    def forget_loads(self, vcpu: AmdvVcpu) -> None:
        self._shortcuts.forget_loads(vcpu.index)

    def shorten(self, budget: Budget) -> None:
        self._slice.shorten(budget)

    def trace_accesses(self, observer: AccessObserver, instructions: InstructionObserver | None = None) -> None:
        from kev.engine.amdv.access_trace import trace_accesses

        self._traces_accesses = True
        trace_accesses(self._uc, self._slice, observer, instructions)

    def seed_random_numbers(self, seed: int) -> None:
        from kev.engine.amdv.random_numbers import RandomNumbers

        self._exits.random_numbers = RandomNumbers(self._cpu.address, seed)
        self._uc.flush_code()

    def set_breakpoints(self, addresses: frozenset[int]) -> None:
        self._stop_at(addresses, self._watchpoints)

    def set_watchpoints(self, watchpoints: Sequence[tuple[range, Access]]) -> None:
        self._stop_at(self._breakpoints, tuple(watchpoints))

    def _stop_at(self, breakpoints: frozenset[int], watchpoints: tuple[tuple[range, Access], ...]) -> None:
        stops = self._exits.debug_stops
        guests_own = any(vcpu.data_breakpoints for vcpu in self._vcpus)
        if stops is None:
            if not breakpoints and not watchpoints and not guests_own:
                return
            from kev.engine.amdv.debug_stops import DebugStops

            stops = DebugStops(self._uc, self._slice, self._linear, self._intercepts)
        self._breakpoints, self._watchpoints = breakpoints, watchpoints
        stops.set_breakpoints(breakpoints)
        stops.set_watchpoints(watchpoints)
        self._exits.debug_stops = stops if breakpoints or watchpoints or guests_own else None

    def pass_breakpoint(self, vcpu: AmdvVcpu) -> None:
        vcpu.breakpoint = vcpu.instruction_address

    def write_debug_register(self, vcpu: AmdvVcpu, number: int, value: int) -> None:
        """DR0 to DR3, or DR7. The CPU's own breakpoints follow."""
        self._make_current(vcpu)
        quads, first = vcpu.quads, layout.DEBUG_REGISTERS >> 3
        dr7 = quads[first + 7]
        self._uc.write_dr7(self._cpu.address, dr7 & ~x86.DR7_ENABLES)
        if number == 7:
            dr7 = value
        else:
            quads[first + number] = value
        self._uc.write_dr7(self._cpu.address, dr7)
        # That may have told the CPU that there is no I/O breakpoint: `kev.engine.amdv.port_trap` needs it to look.
        vcpu.words[layout.HFLAGS >> 2] |= HFLAGS_IO_BREAKPOINTS
        if vcpu.breakpoints_armed:
            self._slice.count_by_instruction()
        self._follow_data_breakpoints(vcpu)

    def _follow_data_breakpoints(self, vcpu: AmdvVcpu) -> None:
        """The debug registers of the current vCPU may have changed."""
        if not vcpu.breakpoints_armed and not vcpu.data_breakpoints:
            return
        found = data_breakpoints(vcpu)
        if found != vcpu.data_breakpoints:
            vcpu.data_breakpoints = found
            self._stop_at(self._breakpoints, self._watchpoints)
            if self._exits.debug_stops is not None:
                self._exits.debug_stops.look_again(vcpu)

    def write_fpu(self, vcpu: AmdvVcpu, state: FpuState) -> None:
        self._make_current(vcpu)
        fpu.write(self._uc, vcpu.quads, state)

    def read_rflags(self, vcpu: AmdvVcpu) -> int:
        if self._closed:
            return vcpu.settled_rflags()
        holder = self._uc if vcpu is self._slice.vcpu else vcpu.context
        return holder.read_register(libunicorn.REG_EFLAGS)

    def translate(self, vcpu: AmdvVcpu, gva: int) -> Gpa | None:
        """The guest-physical address behind `gva`, or None if the guest's tables or their pages are not there."""
        return self._linear.look_up(vcpu, gva)

    @property
    def is_spoiled(self) -> bool:
        return self._spoiled or self._slice.failed

    def close(self) -> None:
        """The guest is over. Its vCPUs' registers can still be read, and nothing else."""
        if self._closed:
            return
        for vcpu in self._vcpus:
            vcpu.set_rflags(vcpu.rflags)
        self._shortcuts.close()
        self.withdraw_pages()
        self._filled = self.pages_filled()
        self._closed = True
        if self._exits.random_numbers is not None:
            self._exits.random_numbers.close()
        if self._slice.vcpu is not None:
            self._slice.put_aside(self._slice.vcpu)
        self._uc.disconnect()
        if self.is_spoiled or any(vcpu.breakpoints_armed for vcpu in self._vcpus):
            self._host.close()
        else:
            self._release(self._host)

    def _load(self, vcpu: AmdvVcpu) -> None:
        """Makes the CPU derive from the vCPU's registers what it derives when they are loaded one by one."""
        events, interrupt, taken = vcpu.read_events(), vcpu.interrupt, vcpu.interrupt_taken
        vcpu.interrupt = None
        vcpu.nmi = vcpu.is_edited = False
        self._delivery.prepare_load(vcpu)
        self._slice.exit = None
        self._events.delivering = None
        self._slice.enter_guest(vcpu)
        vcpu.write_events(events)
        vcpu.interrupt, vcpu.interrupt_taken = interrupt, taken
        self._intercepts.follow(vcpu)

    def _make_current(self, vcpu: AmdvVcpu) -> None:
        if vcpu is not self._slice.vcpu:
            self._slice.switch_to(vcpu)
            self._intercepts.switch(vcpu)
