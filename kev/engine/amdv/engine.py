"""The AMD-V engine: guest code under Unicorn's emulated VMRUN and nested paging.

All vCPUs of a machine are contexts of one Unicorn instance, so that they share translated code and locked instructions stay
atomic. Once VMRUN has entered the guest, the CPU stays in guest mode; an exit is a callback, and going on is returning from it.
"""

from collections.abc import Callable

from kev.addressing import Gpa, Hpa
from kev.engine.amdv import libunicorn
from kev.engine.amdv.control_registers import UMIP
from kev.engine.amdv.cpu_exits import CpuExits
from kev.engine.amdv.delivery import INTERRUPT_NMI, EventDelivery
from kev.engine.amdv.events import Events
from kev.engine.amdv.host import Host
from kev.engine.amdv.instructions import finish
from kev.engine.amdv.intercepts import Intercepts
from kev.engine.amdv.libunicorn import Context
from kev.engine.amdv.linear import LinearMemory
from kev.engine.amdv.slice import Slice
from kev.engine.amdv.translated_code import TranslatedCode
from kev.engine.amdv.vcpu import AmdvVcpu, Event
from kev.engine.amdv.vmcb import Vmcb
from kev.engine.base import Budget, EntryState, Service
from kev.exits import Exit, GuestException, MmioRead, MmioWrite, PreemptionTimer, Reply
from kev.page_tables.table import PageTable


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
        self._window = memory.size
        self._vcpus: list[AmdvVcpu] = []
        self._uc, cpu, _ = host.processor
        vmcb = Vmcb(memory, table.root)
        self._delivery = EventDelivery(self._uc, cpu, memory, vmcb)
        self._slice = Slice(self._uc, cpu, vmcb, host.timer)
        self.instructions_in_slice = self._slice.instructions
        self._linear = LinearMemory(memory, table, self._slice.ask)
        self._intercepts = Intercepts(cpu, vmcb)
        self._events = Events(self._slice, self._delivery, self._linear, vmcb)
        self._code = TranslatedCode(host, table, self._linear, self._slice)
        self._linear.stored = self._code.stored
        self._exits = CpuExits(self._uc, self._slice, self._events, self._linear, self._intercepts, self._code, vmcb)

    def create_vcpu(self, index: int) -> AmdvVcpu:
        vcpu = AmdvVcpu(index, Context(self._uc), self)
        self._vcpus.append(vcpu)
        if len(self._vcpus) > 1:
            self._intercepts.expect_several_vcpus()
        return vcpu

    def reset(self, vcpu: AmdvVcpu, entry: EntryState) -> None:
        vcpu.event = vcpu.unpushed = vcpu.interrupt = vcpu.interrupt_taken = None
        vcpu.nmi = False
        self._spoiled |= vcpu.breakpoints_armed
        self._make_current(vcpu)
        self._delivery.prepare_entry(vcpu, entry)
        self._slice.exit = None
        self._events.delivering = None
        self._slice.emulate(vcpu, 0)

    def run(self, vcpu: AmdvVcpu, budget: Budget, service: Service) -> Exit:
        self._make_current(vcpu)
        slice, events = self._slice, self._events
        self._code.settle()
        slice.begin(service, counted=budget.instructions is not None)
        events.delivering = None
        if vcpu.unpushed is not None:
            events.push_error_code(vcpu, vcpu.unpushed)
            if slice.exit is not None:
                return slice.exit
        slice.request_pending(vcpu)
        count = budget.instructions or 0
        if vcpu.event is not None:
            events.deliver(vcpu, vcpu.event)
            count += bool(count)
        if budget.seconds is not None:
            slice.arm_timer(budget.seconds)
        try:
            slice.emulate(vcpu, count)
            while slice.exit is None and (events.delivering is not None or slice.is_interrupted()):
                slice.go_on(vcpu, with_event=events.delivering is not None)
        finally:
            slice.finish(vcpu)
        violation = self._exits.take_back_port_access(vcpu)
        if violation is not None or slice.exit is None:
            slice.note_pending(vcpu)
        return violation or slice.exit or PreemptionTimer()

    def complete(self, vcpu: AmdvVcpu, exit: Exit, reply: Reply) -> None:
        self._make_current(vcpu)
        if isinstance(reply, GuestException):
            vcpu.event = Event(reply)
        else:
            finish(self._linear, vcpu, exit, reply)

    def intercept_cr3_writes(self) -> None:
        self._intercepts.expect_cr3_writes()

    def permit_cr4(self, bits: int) -> None:
        self._exits.permitted_cr4 |= bits

    def yield_soon(self) -> None:
        self._slice.end_soon()

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

    def map_window(self, gpa: Gpa, length: int) -> Hpa:
        """A host-physical range, mapped without execution, whose accesses become MMIO exits for the guest's range at `gpa`."""
        start = self._window
        self._window += length
        base = int(gpa)

        def load(_uc: int, offset: int, size: int, _data: object) -> int:
            return self._exits.answer(MmioRead(Gpa(base + offset), size)) & (1 << 8 * size) - 1

        def store(_uc: int, offset: int, size: int, value: int, _data: object) -> None:
            self._exits.answer(MmioWrite(Gpa(base + offset), size, value & (1 << 8 * size) - 1))

        self._uc.map_device(start, length, load, store)
        return Hpa(start)

    def shorten(self, budget: Budget) -> None:
        self._slice.shorten(budget)

    def read_rflags(self, vcpu: AmdvVcpu) -> int:
        self._make_current(vcpu)
        return self._uc.read_register(libunicorn.REG_EFLAGS)

    def translate(self, vcpu: AmdvVcpu, gva: int) -> Gpa | None:
        """The guest-physical address behind `gva`, or None if the guest's tables or their pages are not there."""
        return self._linear.look_up(vcpu, gva)

    def close(self) -> None:
        """The guest is over. Its vCPUs' registers can still be read, and nothing else."""
        if self._closed:
            return
        self._closed = True
        if self._slice.vcpu is not None:
            self._slice.put_aside(self._slice.vcpu)
        self._uc.disconnect()
        if self._spoiled or self._slice.failed or any(vcpu.breakpoints_armed for vcpu in self._vcpus):
            self._host.close()
        else:
            self._release(self._host)

    def _make_current(self, vcpu: AmdvVcpu) -> None:
        if vcpu is not self._slice.vcpu:
            self._slice.switch_to(vcpu)
            self._intercepts.set_umip(bool(vcpu.cr4 & UMIP))
