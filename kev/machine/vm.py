"""A virtual machine: vCPUs, memory, devices, and what each exit means to them.

It is driven from outside, step by step: `Vm.step` lets a vCPU run for a slice and says what that came to. A step neither waits nor
does any I/O of its own. `kev.machine.runtime` drives a machine in trio, `kev.race.guest.machine` by a schedule.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from kev.abi.base import Controller
from kev.addressing import PAGE_SIZE, Gpa
from kev.clock import TimerQueue, VirtualClock, WallClock
from kev.dev.base import PageAbsent
from kev.dev.devices import Buses, Devices
from kev.dev.display.screen import VgaScreen
from kev.dev.interrupts.irq import InterruptControllers
from kev.dev.surroundings import Picture
from kev.engine.base import Budget, Engine, EntryState, Service, VcpuState
from kev.errors import KevError
from kev.exits import (
    Breakpoint,
    EptViolation,
    Exit,
    Hlt,
    IoIn,
    IoOut,
    MmioRead,
    MmioWrite,
    Pause,
    PreemptionTimer,
    Reply,
    TripleFault,
    Watchpoint,
)
from kev.machine.console import Console
from kev.machine.ending import Ending
from kev.machine.guest_memory import PagedMemory
from kev.machine.input_line import InputDevice
from kev.machine.interrupts import Interrupts
from kev.machine.schedule import Decision, TurnScheduler
from kev.machine.step import Ended, Idle, NeedsPage, Ran, Step, Stopped
from kev.machine.vcpu import ActivityState, Vcpu
from kev.named_tuple import NamedTuple
from kev.pager.errors import PageLimitReached
from kev.pager.kernel import KernelVmPager
from kev.subscribers import Subscribers
from kev.vmexit.violation import ViolationController

if TYPE_CHECKING:
    from kev.dev.display.framebuffer import Framebuffer
    from kev.pager.borrowed_memory import BorrowedMemory
    from kev.pager.write_tracker import WriteTracker


class VmObserver:
    """Is told what happens in a machine, of which nothing may be changed on the way. What is not overridden does nothing."""

    def exit_began(self, vcpu: Vcpu, exit: Exit) -> None:
        """The exit is about to be serviced."""

    def exit_ended(self, vcpu: Vcpu, exit: Exit, reply: Reply | None) -> None:
        """It is finished; or it ends the slice: None."""

    def slice_began(self, vcpu: Vcpu) -> None:
        """A vCPU is given the CPU."""

    def slice_ended(self, vcpu: Vcpu, exit: Exit) -> None:
        """A vCPU has given up the CPU."""

    def interrupted(self, vcpu: Vcpu, vector: int) -> None:
        """A vCPU has taken an external interrupt, since the last exit or the beginning of its slice."""

    def suspended(self, vcpu: Vcpu, gpa: Gpa) -> None:
        """A vCPU waits for the page at `gpa`."""

    def resumed(self, vcpu: Vcpu) -> None:
        """Its page is there, or cannot be had."""


_NANOSECONDS: Final = 1_000_000_000
_UNLIMITED: Final = 1 << 62
_MOST_INTERRUPTIONS: Final = 500
"""Of a slice whose instructions are counted: some 30 ms, after which a time limit or Ctrl-C can end the run."""
_ACTIVE: Final = ActivityState.ACTIVE
_STOPS: Final = (Breakpoint, Watchpoint)
_RESTARTED_BY_THE_MACHINE: Final = (IoIn, IoOut, MmioRead, MmioWrite)


class Figures(NamedTuple):
    """What is known of a run so far."""

    exits: dict[type, int]
    page_waits: int
    first_instruction: float | None
    first_output: float | None
    ending: Ending | None
    culprit: int | None
    ended: float | None


class Vm:
    """One machine. `kev.machine.builder` puts it together."""

    def __init__(
        self,
        *,
        pager: KernelVmPager,
        engine: Engine[Any],
        vcpus: tuple[Vcpu, ...],
        interrupts: Interrupts,
        clock: WallClock | VirtualClock,
        timers: TimerQueue,
        console: Console,
        memory: PagedMemory,
        controllers: InterruptControllers,
        buses: Buses,
        boot_time: int,
        windows: ViolationController,
    ) -> None:
        """`boot_time` is what the real-time clock shows when the machine is switched on, in seconds since 1970.

        `windows` maps the pages of devices.
        """
        self.boot_time: Final = boot_time
        self.pager: Final = pager
        self.engine: Final = engine
        self.vcpus: Final = vcpus
        self.interrupts: Final = interrupts
        self.clock: Final = clock
        self.timers: Final = timers
        self.console: Final = console
        self.memory: Final = memory
        self.controllers: Final = controllers
        self.buses: Final = buses
        self.windows: Final = windows
        self.screen: Final = VgaScreen(pager)
        self.framebuffer: Framebuffer | None = None
        """What the guest draws into, if it wanted that: see `show`."""
        self._exits: Final[dict[type, int]] = {Hlt: 0, Pause: 0, TripleFault: 0, PreemptionTimer: 0}
        self.ending: Ending | None = None
        self.culprit: int | None = None
        """The vCPU that did what ended the run; None if none did."""
        self.ended: float | None = None
        """When the run ended, by `time.perf_counter`: before anybody looked for words."""
        self.place_of: Callable[[Vcpu], str] | None = None
        """Names the places of vCPUs in messages, where somebody reads them: it takes longer than a short run."""
        self.note_place: Callable[[int, int], object] | None = None
        """Told before every slice which vCPU will run, and its RIP, by whoever may outlive this process."""
        self.log: Final[Subscribers[[bytes]]] = Subscribers()
        """Are given the lines of the logs that were asked for: `kev.machine.guest_log`."""
        self.halted: Callable[[VcpuState], None] | None = None
        """Told of every HLT with interrupts off."""
        self.expects_message: Callable[[], bool] | None = None
        """Says whether somebody may still send what a vCPU waits for in WAIT_FOR_MESSAGE."""
        self.devices: Devices
        """All of them, when the machine is built."""
        self.disks_in_place: Sequence[str] = ()
        """The names of disks that are not kept in memory: what is written to them is there for everybody."""
        self.input_line: InputDevice | None = None
        """Where input goes: COM1, or the keyboard."""
        self.expects_input = False
        """Input may still come and raise an interrupt."""
        self.first_instruction: float | None = None
        """When guest code ran first, by `time.perf_counter`."""
        self.paused = False
        """The slice that was last has ended by PAUSE."""
        self.page_waits = 0
        """How often a vCPU gave up the CPU to wait for a page."""
        self.stop_at: int | None = None
        """How many instructions all vCPUs have retired together when the machine is to stop, once. They are counted until then."""
        self._stops_soon = False
        self._memory_points: WriteTracker | None = None
        self._virtual: Final = clock if isinstance(clock, VirtualClock) else None
        self._costs: Final[dict[type, int]] = {}
        self._margin = 0
        """Nanoseconds that may be charged in this slice before it has to be looked whether it ends by a timer."""
        self._controllers: Final[dict[type, Controller]] = {Pause: _end_slice}
        self._observers: Final[list[VmObserver]] = []
        self._forget_interrupts: Callable[[], None]
        timers.earlier.subscribe(self._shorten_slice)
        console.much.subscribe(self.let_others_run)
        self._services: Final = tuple(self._service_of(vcpu) for vcpu in vcpus)
        self._take_shortcuts()

    def handle(self, kind: type, controller: Controller) -> None:
        """Makes `controller` finish every exit of this kind."""
        self._controllers[kind] = controller
        self._exits.setdefault(kind, 0)

    def controller(self, kind: type) -> Controller:
        """What finishes the exits of this kind."""
        return self._controllers[kind]

    def observe(self, observer: VmObserver) -> None:
        """Tells `observer` what happens from now on, besides those who are told already."""
        if not self._observers:
            self._forget_interrupts = self.interrupts.taken.subscribe(self._note_interrupt)
        self._observers.append(observer)
        self._take_shortcuts()

    def charge(self, costs: Mapping[type, int]) -> None:
        """In virtual time, every exit of these kinds takes so many nanoseconds from now on, besides those of its instruction."""
        self._costs.update(costs)

    def forget_observers(self) -> None:
        """Nobody is told any more."""
        if self._observers:
            self._observers.clear()
            self._forget_interrupts()
            self._take_shortcuts()

    def _take_shortcuts(self) -> None:
        """Exits that nobody wants to see need not be told, but in virtual time, where all have to be the same always."""
        self.engine.take_shortcuts(None if self._observers or self._virtual is not None else self._exits)

    @property
    def exits(self) -> dict[type, int]:
        """How often each kind of exit was taken."""
        self.engine.count_shortcuts()
        return self._exits

    def end(self, ending: Ending) -> None:
        """Ends the run: the first reason counts."""
        if self.ending is None:
            self.ended = self.ended or time.perf_counter()
            self.ending = ending

    def stop_soon(self) -> None:
        """The step that is under way, or the next, comes to `Stopped`: right after the exit that is being serviced, if one is."""
        self._stops_soon = True
        self.let_others_run()

    @property
    def instructions(self) -> int:
        """Those that all vCPUs have retired together, where they are counted."""
        return sum(vcpu.state.instructions for vcpu in self.vcpus)

    def figures(self) -> Figures:
        return Figures(
            dict(self.exits),
            self.page_waits,
            self.first_instruction,
            self.console.first_output,
            self.ending,
            self.culprit,
            self.ended,
        )

    def go_on_from(self, figures: Figures) -> None:
        """The run is what it was then, and nobody wants it to stop."""
        exits, self.page_waits, self.first_instruction, self.console.first_output, self.ending, self.culprit, self.ended = figures
        self.exits.update(dict.fromkeys(self._exits, 0) | exits)
        self.stop_at = None
        self._stops_soon = False

    def exit(self, exit_code: int) -> None:
        """What a guest asks for by hypercall or power-off port: the run ends with the exit being serviced."""
        self.cut_short(Ending.exited(exit_code))

    def cut_short(self, ending: Ending) -> None:
        """Ends the run with the exit being serviced, if one is."""
        self.end(ending)
        self.let_others_run()

    def show(self, wanted: Picture | None) -> None:
        """See `kev.dev.surroundings.Display`."""
        from kev.dev.display.framebuffer import Framebuffer, VideoMode  # few guests have one

        if wanted is None:
            self.framebuffer = None
        else:
            width, height, depth, pitch, start = wanted
            self.framebuffer = Framebuffer(self.pager, VideoMode(width, height, depth), pitch, start)

    def show_bank(self, start: int | None) -> None:
        if start != self.screen.bank:
            self.screen.bank = start
            self.screen.arrange()

    def clear_framebuffer(self) -> None:
        if self.framebuffer is not None:
            for page in self.framebuffer.touched_pages:
                self.memory.write(page, bytes(PAGE_SIZE))

    def let_others_run(self) -> None:
        """The slice, if there is one, ends after the exit being serviced."""
        if self.interrupts.executing is not None:
            self.engine.yield_soon()

    @property
    def memory_points(self) -> "WriteTracker":
        """What memory held at moments that somebody comes back to."""
        if self._memory_points is None:
            from kev.pager.write_tracker import WriteTracker

            tracker = self._memory_points = WriteTracker(self.pager, self.memory.table, self.engine)
            self.memory.before_write = tracker.before_write
        return self._memory_points

    def borrow_memory(self, lender: "WriteTracker") -> "BorrowedMemory":
        """Lets the pages of this machine, which has not run, be those of another that was built alike."""
        from kev.pager.borrowed_memory import BorrowedMemory

        memory = BorrowedMemory(self.pager, self.memory.table, self.engine, lender)
        self._memory_points = memory
        self.memory.before_write = memory.before_write
        return memory

    # Running.

    @property
    def virtual_time(self) -> bool:
        """Time is derived from instructions."""
        return self._virtual is not None

    def step(self, scheduler: TurnScheduler) -> Step:
        """Lets the vCPU that `scheduler` chooses run for a slice; says what that came to, or why nobody can run.

        Where instructions are counted, a turn goes on that a page, a stop or the engine itself has cut short: how pages come, and
        who looks on, makes no difference to the schedule.
        """
        if self.ending is not None:
            return Ended(self.ending)
        self.timers.run_due()
        runnable = [vcpu.index for vcpu in self.vcpus if vcpu.activity is _ACTIVE and vcpu.needs is None]
        if not runnable:
            return Stopped(self.vcpus[0].index, Hlt()) if self._has_to_stop() else self.idle()
        decision = scheduler.next(runnable)
        if self._virtual is None and len(self.vcpus) > 1:
            self.engine.tell_pauses(self._wants_pauses(runnable, decision))
        vcpu, instructions = self.vcpus[decision.vcpu], decision.budget.instructions
        if instructions is None:
            step = self.run(vcpu, decision.budget)
            if decision.budget.kept_loads is not None and isinstance(step, Ran) and isinstance(step.exit, PreemptionTimer):
                scheduler.cut(decision)
            return step
        end = vcpu.state.instructions + instructions
        step = self.run(vcpu, decision.budget._replace(interruptions=_MOST_INTERRUPTIONS))
        left = end - vcpu.state.instructions
        if left > 0 and self._was_cut(step):
            scheduler.cut(Decision(vcpu.index, Budget(instructions=left)))
        return step

    def _wants_pauses(self, runnable: Sequence[int], decision: Decision) -> bool:
        """Another vCPU may do what one that executes PAUSE waits for, or soon can; or somebody wants to see every exit.

        Else the loop of many of them, by which kernels wait, takes hundreds of times as long.
        """
        if self._observers:
            return True
        return not decision.keeps_pauses and (len(runnable) > 1 or any(vcpu.needs is not None for vcpu in self.vcpus))

    def _was_cut(self, step: Step) -> bool:
        """Nothing that the guest has done ended the slice, nor a timer."""
        if isinstance(step, NeedsPage):
            return True
        if not isinstance(step, Ran | Stopped) or not isinstance(step.exit, PreemptionTimer | Breakpoint | Watchpoint):
            return False
        deadline = self.timers.next_deadline()
        return deadline is None or deadline > self.clock.now()

    def run(self, vcpu: Vcpu, budget: Budget) -> Step:
        """Runs one vCPU, which must be runnable, until an exit that is not finished on the spot. A guest that dies ends the run."""
        if self.first_instruction is None:
            self.first_instruction = time.perf_counter()
        if self.stop_at is not None:
            budget = budget._replace(instructions=self._until_stop(self.stop_at, budget.instructions))
        exit: Exit = PreemptionTimer()
        try:
            exit = self._run(vcpu, budget)
        except KevError as error:
            self._fail(vcpu, error)
        return self._came_to(vcpu, exit)

    def run_out(self, vcpu: Vcpu, instructions: int) -> Step | None:
        """As `run`, in virtual time. None if so many instructions were executed, and nothing else has happened."""
        index, interrupts = vcpu.index, self.interrupts
        deadline = self.timers.next_deadline()
        margin = _UNLIMITED if deadline is None else deadline - self.clock.now() - instructions
        if (
            margin <= 0
            or self._observers
            or self.note_place is not None
            or self.stop_at is not None
            or self._stops_soon
            or self.first_instruction is None
            or vcpu.startup is not None
            or interrupts.offered[index] is not None
        ):
            return self.run(vcpu, Budget(instructions=instructions))
        self._margin = margin
        interrupts.executing = index
        before = vcpu.state.instructions
        exit: Exit = PreemptionTimer()
        try:
            ended = self.engine.run_out(vcpu.state, instructions, self._services[index])
            interrupts.executing = None
            if ended is None:
                assert self._virtual is not None
                self._virtual.advance(instructions)
                self._exits[PreemptionTimer] += 1
                return None
            exit = ended
            self._end_slice(vcpu, exit, before)
        except KevError as error:
            self._fail(vcpu, error)
        return self._came_to(vcpu, exit)

    def _came_to(self, vcpu: Vcpu, exit: Exit) -> Step:
        """What a slice came to that has ended with `exit`."""
        self.console.flush()
        if self.ending is not None:
            return Ended(self.ending)
        if isinstance(exit, EptViolation) and vcpu.needs is None:
            vcpu.needs = exit.gpa
        if vcpu.needs is not None:
            return NeedsPage(vcpu.index, vcpu.needs)
        if isinstance(exit, _STOPS) or self._has_to_stop():
            return Stopped(vcpu.index, exit)
        return Ran(vcpu.index, exit)

    def _until_stop(self, end: int, instructions: int | None) -> int:
        left = max(end - self.instructions, 1)
        return left if instructions is None else min(left, instructions)

    def _has_to_stop(self) -> bool:
        if self.stop_at is not None and self.instructions >= self.stop_at:
            self.stop_at = None
            return True
        stops, self._stops_soon = self._stops_soon, False
        return stops

    def idle(self) -> Step:
        """What there is to wait for when nobody can run. If nothing is, the run ends. In virtual time a timer is due at once."""
        deadline = self.timers.next_deadline()
        if any(vcpu.needs is not None for vcpu in self.vcpus):
            return Idle(None if self._virtual is not None else deadline)
        if not self._interruptible or (deadline is None and not self.expects_input):
            if self._expects_message:
                return Idle(None)
            self.ended = time.perf_counter()
            self.end(self._halted_for_ever())
            assert self.ending is not None
            return Ended(self.ending)
        if self._virtual is not None and deadline is not None:
            self._virtual.advance_to(deadline)
        return Idle(deadline)

    def _run(self, vcpu: Vcpu, budget: Budget) -> Exit:
        engine, state = self.engine, vcpu.state
        if vcpu.startup is not None:
            self._reset(vcpu, vcpu.startup)
        before = state.instructions
        for observer in self._observers:
            observer.slice_began(vcpu)
        interrupts, index = self.interrupts, vcpu.index
        interrupts.executing = index
        if self.note_place is not None:
            self.note_place(index, state.rip)
        exit = engine.run(state, self._until_next_timer(budget), self._services[index])
        interrupts.executing = None
        self._end_slice(vcpu, exit, before)
        return exit

    def _end_slice(self, vcpu: Vcpu, exit: Exit, before: int) -> None:
        """A slice has ended with `exit`; `before` are the vCPU's instructions before it."""
        interrupts, index = self.interrupts, vcpu.index
        if self._virtual is not None:
            self._virtual.advance(vcpu.state.instructions - before)
        if interrupts.offered[index] is not None:
            interrupts.synchronize(vcpu)
        for observer in self._observers:
            observer.slice_ended(vcpu, exit)
        self.paused = isinstance(exit, Pause)
        if isinstance(exit, Hlt):
            self._exits[Hlt] += 1
            if self._virtual is not None:
                self._virtual.advance(self._costs.get(Hlt, 0))
            self._halt(vcpu)
        elif isinstance(exit, PreemptionTimer):
            self._exits[PreemptionTimer] += 1
        elif isinstance(exit, TripleFault):
            self._exits[TripleFault] += 1
            if TripleFault in self._controllers:
                self._controllers[TripleFault](vcpu.state, exit)
            self._die(vcpu, _describe_triple_fault(vcpu.state, exit))

    def start_up(self) -> None:
        """Puts vCPUs that are about to run first, or again, into their entry state, so that their registers can be looked at."""
        for vcpu in self.vcpus:
            if vcpu.startup is not None:
                self._reset(vcpu, vcpu.startup)

    def _reset(self, vcpu: Vcpu, entry: EntryState) -> None:
        self.engine.reset(vcpu.state, entry)
        vcpu.startup = None
        self.interrupts.loaded(vcpu)  # an interrupt may have come before

    def _until_next_timer(self, budget: Budget) -> Budget:
        deadline = self.timers.next_deadline()
        if deadline is None:
            self._margin = _UNLIMITED
            return budget
        remaining = max(deadline - self.clock.now(), 1)
        if self._virtual is not None and budget.instructions is not None:
            self._margin = max(remaining - budget.instructions, 0)
            return budget._replace(instructions=remaining) if remaining < budget.instructions else budget
        seconds = remaining / _NANOSECONDS
        return budget._replace(seconds=seconds) if budget.seconds is None or seconds < budget.seconds else budget

    def _shorten_slice(self, deadline: int) -> None:
        """A device has set a timer that is due before the slice would end."""
        remaining = deadline - self.clock.now()
        if self._virtual is None:
            self.engine.shorten(Budget(seconds=max(remaining, 1) / _NANOSECONDS))
        else:
            # However the run is cut into slices, a timer that is due comes before the next instruction.
            self._margin = 0
            self.engine.shorten(Budget(instructions=max(remaining, 0)))

    def _charge(self, cost: int) -> None:
        """The exit being serviced takes its time: the next timer may be due earlier in the slice."""
        assert self._virtual is not None
        self._virtual.advance(cost)
        self._margin -= cost
        if self._margin < 0:
            deadline = self.timers.next_deadline()
            if deadline is not None:
                self._shorten_slice(deadline)

    def _halt(self, vcpu: Vcpu) -> None:
        vcpu.activity = ActivityState.HLT
        self.interrupts.interrupt_changed(vcpu.index)
        if self.halted is not None and self.ending is None and not vcpu.state.interrupts_enabled:
            self.halted(vcpu.state)

    # Exits.

    def _service_of(self, vcpu: Vcpu) -> Service:
        index, state = vcpu.index, vcpu.state
        controllers, exits, observers = self._controllers, self._exits, self._observers
        interrupts, offered = self.interrupts, self.interrupts.offered
        costs = self._costs

        def service(exit: Exit) -> Reply | None:
            kind = type(exit)
            exits[kind] += 1
            if kind in costs and interrupts.executing is not None:
                # Not when an exit that was put off is repeated: how long its page took is not the guest's time.
                self._charge(costs[kind])
            if offered[index] is not None:
                # Whatever looks at the interrupt controllers must know which vector the vCPU has taken meanwhile.
                interrupts.synchronize(vcpu)
            if observers:
                return self._observed(vcpu, exit)
            try:
                return controllers[kind](state, exit)
            except PageAbsent as absent:
                return self._put_off(vcpu, exit, absent.gpa)

        return service

    def _observed(self, vcpu: Vcpu, exit: Exit) -> Reply | None:
        for observer in self._observers:
            observer.exit_began(vcpu, exit)
        reply: Reply | None = None
        try:
            reply = self._controllers[type(exit)](vcpu.state, exit)
        except PageAbsent as absent:
            reply = self._put_off(vcpu, exit, absent.gpa)
        finally:
            for observer in self._observers:
                observer.exit_ended(vcpu, exit, reply)
        return reply

    def _note_interrupt(self, vcpu: Vcpu, vector: int) -> None:
        for observer in self._observers:
            observer.interrupted(vcpu, vector)

    def _put_off(self, vcpu: Vcpu, exit: Exit, gpa: Gpa) -> Reply | None:
        """A device needs a page that has to be awaited: the exit is finished by `go_on`, before the vCPU runs again."""
        vcpu.needs, vcpu.unfinished = gpa, exit
        if isinstance(exit, _RESTARTED_BY_THE_MACHINE):
            self.engine.yield_soon()
            return 0
        return None

    async def load_page(self, vcpu: Vcpu) -> None:
        """Waits for the page that a vCPU needs, and for those that it needs next to finish its exit. A failed load ends the run."""
        while vcpu.needs is not None and self.ending is None:
            self.page_waits += 1
            gpa = vcpu.needs
            for observer in self._observers:
                observer.suspended(vcpu, gpa)
            try:
                await self.pager.load_page(gpa)
            except KevError as error:
                self._fail(vcpu, error)
            for observer in self._observers:
                observer.resumed(vcpu)
            if self.ending is None:
                self._go_on(vcpu)

    def _go_on(self, vcpu: Vcpu) -> None:
        """The page that the vCPU needed is there: repeats the exit that was put off, which may need another."""
        exit = vcpu.unfinished
        vcpu.needs = vcpu.unfinished = None
        if exit is None:
            return
        try:
            reply = self._services[vcpu.index](exit)
        except KevError as error:
            self._fail(vcpu, error)
            return
        if reply is not None and not isinstance(exit, _RESTARTED_BY_THE_MACHINE):
            self.engine.complete(vcpu.state, exit, reply)

    def wait_for_message(self, vcpu: Vcpu) -> None:
        """The vCPU stops, behind the exit that is being serviced."""
        vcpu.activity = ActivityState.WAIT_FOR_MESSAGE
        self.let_others_run()

    def message_came(self, vcpu: Vcpu) -> None:
        """What the vCPU waited for is there: it is runnable again."""
        vcpu.activity = ActivityState.ACTIVE
        self.interrupts.runnable()

    # Reports.

    @property
    def _expects_message(self) -> bool:
        """One of the vCPUs waits for a message, and one may come."""
        return (
            self.expects_message is not None
            and any(vcpu.activity is ActivityState.WAIT_FOR_MESSAGE for vcpu in self.vcpus)
            and self.expects_message()
        )

    @property
    def _interruptible(self) -> bool:
        """An interrupt would wake one of the vCPUs."""
        return any(vcpu.activity is ActivityState.HLT and vcpu.state.interrupts_enabled for vcpu in self.vcpus)

    def where(self, vcpu: Vcpu) -> str:
        """The place a vCPU is at, for messages."""
        place = "" if self.place_of is None else self.place_of(vcpu)
        return f"vCPU {vcpu.index} at RIP {vcpu.state.rip:#x}{f' in {place}' if place else ''}"

    def _fail(self, vcpu: Vcpu, error: KevError) -> None:
        if isinstance(error, PageLimitReached):
            self.end(Ending.limited(str(error)))
        else:
            self._die(vcpu, str(error))

    def _die(self, vcpu: Vcpu, why: str) -> None:
        """The guest has done what cannot be carried out."""
        if self.ending is None:
            self.ended = time.perf_counter()
            self.culprit = vcpu.index
            self.end(Ending.died(f"{self.where(vcpu)}: {why}"))

    def _halted_for_ever(self) -> Ending:
        """Nobody can run, and nothing is left that could change that."""
        states = ", ".join(self._describe_activity(vcpu) for vcpu in self.vcpus)
        return Ending.died(f"halted for ever: {states}; no timer is set and no interrupt can come")

    def _describe_activity(self, vcpu: Vcpu) -> str:
        if vcpu.activity is ActivityState.WAIT_FOR_SIPI:
            return f"vCPU {vcpu.index} waits for a start-up IPI"
        if vcpu.activity is ActivityState.WAIT_FOR_MESSAGE:
            return f"{self.where(vcpu)} waits for a message, which nobody can send"
        return f"{self.where(vcpu)} halted with interrupts {'on' if vcpu.state.interrupts_enabled else 'off'}"


def _end_slice(_vcpu: VcpuState, _exit: Exit) -> None:
    """The exit is for the scheduler."""


def _describe_triple_fault(state: VcpuState, fault: TripleFault) -> str:
    from kev.postmortem.exceptions import describe_event

    first = next((event for event in reversed(state.history) if event.vector == fault.vector), None)
    return "triple fault" if first is None else f"triple fault that began with {describe_event(first)}"
