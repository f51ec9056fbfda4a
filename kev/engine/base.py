"""What the rest of the hypervisor asks of an engine.

An engine executes guest code in slices. A slice ends with an exit; most exits are finished on the spot by the VM's service
function, without leaving the CPU, and the guest goes on.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol, TypeAlias, TypeVar

from kev.addressing import Gpa, Hpa
from kev.dev.buses.ports import Iterations
from kev.engine.registers import DescriptorTable, FpuState, PendingEvents, RaisedEvent, SegmentRegister
from kev.exits import Access, EptViolation, Exit, GuestException, Reply
from kev.named_tuple import NamedTuple
from kev.pager.protocols import AlikePages


class EntryState(NamedTuple):
    """The registers a vCPU starts with. General registers not named are 0."""

    rip: int
    cs: SegmentRegister
    data: SegmentRegister
    """DS, ES, SS, FS and GS."""
    cr0: int
    """Real mode 0x30, 32-bit protected mode 0x31, long mode 0x80000031."""
    cr3: int = 0
    cr4: int = 0
    efer: int = 0
    idt_limit: int = 0
    gdt_base: int = 0
    gdt_limit: int = 0
    rax: int = 0
    rbx: int = 0
    rdx: int = 0
    rsi: int = 0
    rsp: int = 0


class VcpuState(Protocol):
    """One vCPU's registers as the engine keeps them; readable and writable whenever the vCPU is not executing.

    `rip` is the instruction that exited. What is written takes effect when the vCPU runs next. Nothing is checked: a state that no
    processor could be in leads to what no processor would do. After `Engine.close` everything can still be read.
    """

    rax: int
    rbx: int
    rcx: int
    rdx: int
    rsi: int
    rdi: int
    rbp: int
    rsp: int
    r8: int
    r9: int
    r10: int
    r11: int
    r12: int
    r13: int
    r14: int
    r15: int
    rip: int
    rflags: int

    cr0: int
    cr2: int
    cr3: int
    cr4: int
    """CR8 is the interrupt controller's."""
    efer: int
    """EFER, as the guest sees it."""
    xcr0: int
    """XCR0: 1, unless the guest may set CR4.OSXSAVE."""

    dr0: int
    dr1: int
    dr2: int
    dr3: int
    dr6: int
    dr7: int

    gdtr: DescriptorTable
    idtr: DescriptorTable

    random_numbers: int
    """How many RDRAND and RDSEED have given it, where a seed makes them (`Engine.seed_random_numbers`): which one is next."""

    @property
    def index(self) -> int:
        """The vCPU's number, from 0: its APIC id."""

    @property
    def interrupts_enabled(self) -> bool:
        """RFLAGS.IF."""

    @property
    def cpl(self) -> int:
        """The current privilege level, 0 to 3."""

    @property
    def cs(self) -> SegmentRegister: ...

    @property
    def instruction_address(self) -> int:
        """The linear address of the instruction at `rip`."""

    def segment(self, name: str) -> SegmentRegister:
        """One of the segment registers in `kev.engine.registers.SEGMENTS`."""

    def set_segment(self, name: str, value: SegmentRegister) -> None:
        """Loads a segment register with its hidden part, whatever the descriptor tables say. SS has the privilege level."""

    def read_msr(self, index: int) -> int:
        """One of `kev.engine.registers.MSRS`. KeyError if it is another."""

    def write_msr(self, index: int, value: int) -> None: ...

    def read_fpu(self) -> FpuState:
        """The registers of x87 and SSE."""

    def write_fpu(self, state: FpuState) -> None: ...

    def read_events(self) -> PendingEvents:
        """What comes before the next instruction."""

    def write_events(self, events: PendingEvents) -> None: ...

    @property
    def history(self) -> Sequence[RaisedEvent]:
        """The last `kev.engine.registers.HISTORY_LENGTH` exceptions and interrupts, the latest last."""

    instructions: int
    """Instructions retired since the start, where slices are counted; else 0."""


State = TypeVar("State", bound=VcpuState)

Service: TypeAlias = Callable[[Exit], Reply | None]
"""Called for every exit of one vCPU, on the CPU. A reply finishes it and the guest goes on; None ends the slice.

`IoIn`, `IoOut`, `MmioRead` and `MmioWrite` must be finished here: the instruction is half-way through.
"""


AccessObserver: TypeAlias = Callable[["VcpuState", int, Hpa, int, Access, int], None]
"""Is told of an access before it is made: the vCPU, the linear address of the instruction, the host-physical address, how many
bytes, whether it is a read or a write, and what is written."""

InstructionObserver: TypeAlias = Callable[["VcpuState", int, int], None]
"""Is told of an instruction before it is executed: the vCPU, its linear address, and how many bytes it has."""


class Budget(NamedTuple):
    """How long a slice may last. At least one of the two bounds is set."""

    instructions: int | None = None
    """Exactly so many instructions: slower, and repeatable."""
    seconds: float | None = None
    """About so long, by the host's clock: faster, and not repeatable."""
    stops_at_events: bool = False
    """The slice also ends where an exception, interrupt or NMI has been delivered, before its handler's first instruction."""
    interruptions: int | None = None
    """With `instructions`: the slice also ends behind so many exits and delivered events, of which any number may come before
    the next instruction is retired."""
    kept_loads: int | None = None
    """With `seconds`: the slice also ends behind about so many loads that `Engine.keep_load` has answered."""


SINGLE_STEP: Final = Budget(instructions=1, stops_at_events=True)
"""One instruction, or the delivery of one event that came before it.

A fault counts as its instruction; a string instruction that repeats itself, as one for each time, and one for finding that it was
the last.
"""


class Engine(Protocol[State]):
    """One emulated machine: any number of vCPUs over one guest-physical memory."""

    def create_vcpu(self, index: int) -> State:
        """A new vCPU; it runs nothing before `reset` gave it an entry state."""

    def reset(self, vcpu: State, entry: EntryState) -> None:
        """Puts a vCPU into its entry state (power-up, or a SIPI)."""

    def run(self, vcpu: State, budget: Budget, service: Service) -> Exit:
        """Executes guest code until an exit that `service` did not finish, or until the budget is used up."""

    def run_out(self, vcpu: State, instructions: int, service: Service) -> Exit | None:
        """As `run`. None if these instructions were executed, and nothing else has happened: no exit, and no event."""

    def complete(self, vcpu: State, exit: Exit, reply: Reply) -> None:
        """Finishes an exit that `run` returned, as `service` would have."""

    def intercept_cr3_writes(self) -> None:
        """From now on, writes to CR3 exit as `CrAccess(3, value)`, and are carried out with the reply."""

    def intercept_msrs(self) -> None:
        """From now on, RDMSR and WRMSR of every MSR but EFER exit, also of those that the CPU keeps itself.

        Of those, a write is not carried out, whatever the reply.
        """

    def permit_cr4(self, bits: int) -> None:
        """The guest may set these bits of CR4, too. They have no effect."""

    def intercept_invalid_opcodes(self) -> None:
        """From now on, #UD of instructions, though not of INT 6, exits as `InvalidOpcode`."""

    def withhold_efer(self, bits: int) -> None:
        """From now on, writes to EFER leave these bits 0, whatever the guest writes. It reads them as they are."""

    def yield_soon(self) -> None:
        """Called from `service`: the slice ends right after the exit being serviced."""

    def tell_pauses(self, enabled: bool) -> None:
        """Called between slices: whether PAUSE is an exit from now on. At first it is if there are several vCPUs."""

    def take_shortcuts(self, exits: dict[type, int] | None) -> None:
        """From now on, slices that are not counted may answer exits without `service`, as far as the following say how.

        `count_shortcuts` adds them to `exits`, by kind. None: every exit is told.
        """

    def count_shortcuts(self) -> None: ...

    def set_time_stamp_counter(self, vcpu: State, offset: int) -> None:
        """An `Rdtsc` of this vCPU gets `time.perf_counter_ns()` plus `offset`, modulo 2**64."""

    def keep_load(self, vcpu: State, gpa: Gpa, value: int) -> None:
        """An `MmioRead` of 4 bytes by this vCPU at `gpa`, a multiple of 4, gets `value` until `forget_loads`."""

    def keep_count(self, vcpu: State, gpa: Gpa, deadline: int, divisor: int, period: int) -> None:
        """Such a load gets what is left of a count that falls by 1 every `divisor` nanoseconds and is 0 at `deadline`.

        That is by `time.perf_counter_ns()`; from then on the load is told again. If there is more than `period` nanoseconds left,
        the remainder of that counts, from 1 to `period`. There is one count for each vCPU and page, until `forget_loads`.
        """

    def forget_loads(self, vcpu: State) -> None:
        """What `keep_load` and `keep_count` have said of this vCPU no longer holds."""

    def offer_pages(self, gpa: Gpa, hpa: Hpa, pages: Sequence[AlikePages], states: bytearray) -> None:
        """In slices that take shortcuts, pages that are Absent may be filled, mapped and made Present when they are touched.

        `pages` lie within the aligned 2 MiB at `gpa`, in the order of their addresses; the frames of these 2 MiB are at `hpa`, and
        their states (`kev.pager.pages.PageState`) are `states`. Such violations are exits that `count_shortcuts` counts.
        """

    def withdraw_pages(self) -> None:
        """Whatever was offered is told again from now on."""

    def pages_filled(self) -> int:
        """How many pages have become Present by `offer_pages`."""

    def find_iterations(self, port: int, size: int, length: int, *, stores: bool) -> Iterations | None:
        """Called from `service` for an `IoIn`, or, if not `stores`, an `IoOut`: the iterations of INS or OUTS that begin with it.

        They have `length` bytes together at most. None if the instruction is another one or accesses `port` otherwise, if it has
        one iteration left, or if shortcuts are not taken.
        """

    def shorten(self, budget: Budget) -> None:
        """Called from `service`: the slice that is running ends after so much more, unless it would have ended earlier."""

    def instructions_in_slice(self) -> int:
        """Instructions retired so far in the slice that is running, if it is counted; else 0."""

    def place(self, vcpu: State) -> int:
        """A number for what RIP, CR3, the general registers and the stack hold, the latter to the end of its page.

        It is the same for the same, and most likely another one for other values.
        """

    def raise_interrupt(self, vcpu: State, vector: int | None) -> None:
        """The external interrupt that waits for this vCPU, or None. The CPU takes it as soon as RFLAGS.IF and shadows allow."""

    def interrupt_taken(self, vcpu: State) -> int | None:
        """The vector that the vCPU has taken since the last call, if any: the interrupt controller's acknowledge cycle."""

    def raise_nmi(self, vcpu: State) -> None: ...

    def inject(self, vcpu: State, exception: GuestException) -> None:
        """Delivers an exception before the vCPU's next instruction."""

    def map_window(self, gpa: Gpa, length: int, planes: int = 0) -> Hpa:
        """A host-physical range, whose accesses become MMIO exits for the guest's range at `gpa`. No instruction is fetched there.

        It is mapped by `kev.page_tables.table.PageTable.map_device_page`. A fetch is an EptViolation of a page that is present.
        `planes` is the address of struct planes (`kev.dev.display.planes`), if that is what accesses are to: in slices that take
        shortcuts they are done there, and counted as exits.
        """

    def invalidate(self, gpa: Gpa) -> None:
        """The nested mapping of a page was removed or narrowed, or its frame refilled: forget what was cached of it."""

    def written(self, hpa: int) -> None:
        """A device has written to the page of host-physical memory that holds `hpa`: what was its code is no longer."""

    def answer_quietly(self, answer: Callable[[EptViolation], bool]) -> None:
        """Asks `answer` first about every violation, from now on. If it says True, the access is made again, and was no exit.

        For whoever keeps pages from being written, or puts off filling them, without the guest or its observers noticing.
        """

    def forget_mappings(self) -> None:
        """Nested mappings were removed or narrowed, anywhere: forget what was cached of them."""

    def refilled(self, frames: Collection[int]) -> None:
        """`forget_mappings`; and the pages of host-physical memory at these addresses hold something else than before.

        Between slices only. What was their code is no longer; what was that of other pages still is.
        """

    def save_vcpu(self, vcpu: State) -> object:
        """All of a vCPU between two slices, as the engine itself keeps it: quicker than reading what `VcpuState` has."""

    def load_vcpu(self, vcpu: State, saved: object) -> None:
        """Makes a vCPU what it was, or what that of another engine was whose machine was built in the same way."""

    @property
    def is_spoiled(self) -> bool:
        """A guest has left behind what cannot be taken back: no other should run here."""

    def seed_random_numbers(self, seed: int) -> None:
        """RDRAND and RDSEED give numbers that follow from `seed` from now on, to each vCPU its own; else they are the host's."""

    def set_breakpoints(self, addresses: frozenset[int]) -> None:
        """Every vCPU exits with `Breakpoint` before it executes the instruction at one of these linear addresses.

        The next run after that exit executes the instruction. A vCPU that stands at a breakpoint for another reason exits at once,
        unless `pass_breakpoint` says otherwise. One whose budget ends at a breakpoint exits with `Breakpoint`, too. A string
        instruction that repeats itself is one instruction here.

        Guest memory is as it was, and so are counts of instructions. Slices without a number of instructions take longer, and are
        counted, while there are breakpoints or watchpoints. Neither may be changed from `service`.
        """

    def pass_breakpoint(self, vcpu: State) -> None:
        """The vCPU's next run begins with the instruction at RIP, even if a breakpoint is there."""

    def set_watchpoints(self, watchpoints: Sequence[tuple[range, Access]]) -> None:
        """Every vCPU exits with `Watchpoint` behind an instruction that has read or written these linear addresses.

        What counts is the memory that lies there at the time, by whatever address it is accessed. What the hypervisor and devices
        write does not count, nor what the CPU reads and writes in page tables, nor fetches of instructions.
        """

    def trace_accesses(self, observer: AccessObserver, instructions: InstructionObserver | None = None) -> None:
        """Tells `observer` of every access that an instruction makes to memory, in counted slices, until the end. Takes long.

        `instructions` is told of every instruction before its accesses; and once more if it is begun again, behind a violation.
        """

    def translate(self, vcpu: State, gva: int) -> Gpa | None:
        """The guest-physical address behind a linear one; None if the guest's page tables do not lead to one."""

    def close(self) -> None: ...
