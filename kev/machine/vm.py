"""A virtual machine: vCPUs, memory, devices, and what each exit means to them."""

import time
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias

from kev.addressing import Gpa
from kev.clock import TimerQueue, VirtualClock, WallClock
from kev.dev.base import PageAbsent
from kev.dev.display.screen import TextScreen
from kev.dev.serial.uart16550 import SerialPort
from kev.engine.base import Budget, Engine, Service, VcpuState
from kev.errors import KevError
from kev.exits import (
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
)
from kev.machine.console import Console
from kev.machine.ending import Ending
from kev.machine.interrupts import Interrupts
from kev.machine.vcpu import ActivityState, Unfinished, Vcpu
from kev.pager.image import KernelImage
from kev.pager.kernel import KernelVmPager

Controller: TypeAlias = Callable[[Vcpu, Any], Reply | None]
"""Finishes one kind of exit, or returns None to end the slice."""


class WaitObserver(Protocol):
    """Is told of vCPUs that wait for pages."""

    def suspended(self, vcpu: Vcpu, gpa: Gpa) -> None:
        """A vCPU has given up the CPU until the page at `gpa` is there."""

    def resumed(self, vcpu: Vcpu) -> None:
        """Its page is there, or cannot be had."""


_NANOSECONDS: Final = 1_000_000_000
_RESTARTED_BY_THE_MACHINE: Final = (IoIn, IoOut, MmioRead, MmioWrite)


class Vm:
    """One machine. `kev.machine.builder` puts it together and `kev.machine.runtime` runs it."""

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
    ) -> None:
        self.pager: Final = pager
        self.engine: Final = engine
        self.vcpus: Final = vcpus
        self.interrupts: Final = interrupts
        self.clock: Final = clock
        self.timers: Final = timers
        self.console: Final = console
        self.screen: Final = TextScreen(pager)
        self.exits: Final[dict[type, int]] = {Hlt: 0, Pause: 0, TripleFault: 0, PreemptionTimer: 0}
        """How often each kind of exit was taken."""
        self.ending: Ending | None = None
        self.halted: Callable[[VcpuState], None] = _wait_for_nmi
        """Told of every HLT with interrupts off."""
        self.com1: SerialPort | None = None
        """Where input goes."""
        self.expects_input = False
        """Input may still come and raise an interrupt."""
        self.first_instruction: float | None = None
        """When guest code ran first, by `time.perf_counter`."""
        self.page_waits = 0
        """How often a vCPU gave up the CPU to wait for a page."""
        self.wait_observer: WaitObserver | None = None
        self._virtual: Final = clock if isinstance(clock, VirtualClock) else None
        self._controllers: dict[type, Controller] = {Pause: _end_slice}
        timers.on_earlier = self._shorten_slice
        self._services: Final = tuple(self._service_of(vcpu) for vcpu in vcpus)

    def handle(self, kind: type, controller: Controller) -> None:
        """Makes `controller` finish every exit of this kind."""
        self._controllers[kind] = controller
        self.exits[kind] = 0

    def wrap(self, kind: type, wrapper: Callable[[Controller], Controller]) -> None:
        """Puts something between the exits of this kind and what finishes them."""
        self._controllers[kind] = wrapper(self._controllers[kind])

    def end(self, ending: Ending) -> None:
        """Ends the run: the first reason counts."""
        if self.ending is None:
            self.ending = ending

    def exit(self, exit_code: int) -> None:
        """What a guest asks for by hypercall or power-off port: the run ends with the exit being serviced."""
        self.end(Ending.exited(exit_code))
        if self.interrupts.executing is not None:
            self.engine.yield_soon()

    # Running.

    def run_slice(self, vcpu: Vcpu, budget: Budget) -> Exit:
        """Runs one vCPU until an exit that is not finished on the spot. Whatever kills the guest ends the run."""
        if self.first_instruction is None:
            self.first_instruction = time.perf_counter()
        try:
            exit = self._run(vcpu, budget)
        except KevError as error:
            self.end(Ending.died(f"{self.where(vcpu)}: {error}"))
            exit = PreemptionTimer()
        self.console.flush()
        return exit

    def _run(self, vcpu: Vcpu, budget: Budget) -> Exit:
        engine, state = self.engine, vcpu.state
        if vcpu.startup is not None:
            engine.reset(state, vcpu.startup)
            vcpu.startup = None
        before = state.instructions
        self.interrupts.executing = vcpu.index
        exit = engine.run(state, self._until_next_timer(budget), self._services[vcpu.index])
        self.interrupts.executing = None
        if self._virtual is not None:
            self._virtual.advance(state.instructions - before)
        self.interrupts.synchronize(vcpu)
        if isinstance(exit, Hlt):
            self.exits[Hlt] += 1
            self._halt(vcpu)
        elif isinstance(exit, PreemptionTimer):
            self.exits[PreemptionTimer] += 1
        elif isinstance(exit, TripleFault):
            self.exits[TripleFault] += 1
            self.end(Ending.died(self._describe_triple_fault(vcpu, exit)))
        return exit

    def _until_next_timer(self, budget: Budget) -> Budget:
        deadline = self.timers.next_deadline()
        if deadline is None:
            return budget
        remaining = max(deadline - self.clock.now(), 1)
        if budget.instructions is not None:
            return Budget(instructions=remaining) if remaining < budget.instructions else budget
        seconds = remaining / _NANOSECONDS
        return Budget(seconds=seconds) if budget.seconds is None or seconds < budget.seconds else budget

    def _shorten_slice(self, deadline: int) -> None:
        """A device has set a timer that is due before the slice would end."""
        remaining = max(deadline - self.clock.now(), 1)
        virtual = self._virtual is not None
        self.engine.shorten(Budget(instructions=remaining) if virtual else Budget(seconds=remaining / _NANOSECONDS))

    def _halt(self, vcpu: Vcpu) -> None:
        vcpu.activity = ActivityState.HLT
        self.interrupts.interrupt_changed(vcpu.index)
        if not vcpu.state.interrupts_enabled:
            self.halted(vcpu.state)

    def _service_of(self, vcpu: Vcpu) -> Service:
        controllers, exits = self._controllers, self.exits

        def service(exit: Exit) -> Reply | None:
            kind = type(exit)
            exits[kind] += 1
            try:
                return controllers[kind](vcpu, exit)
            except PageAbsent as absent:
                return self._put_off(vcpu, exit, absent.gpa)

        return service

    def _put_off(self, vcpu: Vcpu, exit: Exit, gpa: Gpa) -> Reply | None:
        """A device needs a page that has to be awaited: the exit is finished by `finish`, before the vCPU goes on."""
        vcpu.unfinished = Unfinished(exit, gpa)
        if isinstance(exit, _RESTARTED_BY_THE_MACHINE):
            self.engine.yield_soon()
            return 0
        return None

    def finish(self, vcpu: Vcpu) -> None:
        """Repeats the exit that was put off. It may be put off again, for another page."""
        assert vcpu.unfinished is not None
        exit = vcpu.unfinished.exit
        vcpu.unfinished = None
        reply = self._services[vcpu.index](exit)
        if reply is not None and not isinstance(exit, _RESTARTED_BY_THE_MACHINE):
            self.engine.complete(vcpu.state, exit, reply)

    async def load_page(self, vcpu: Vcpu, gpa: Gpa) -> None:
        """Waits for a page that has to be awaited. A failed load ends the run."""
        self.page_waits += 1
        observer = self.wait_observer
        if observer is not None:
            observer.suspended(vcpu, gpa)
        try:
            await self.pager.load_page(gpa)
        except KevError as error:
            self.end(Ending.died(f"{self.where(vcpu)}: {error}"))
        if observer is not None:
            observer.resumed(vcpu)

    # Time.

    @property
    def interruptible(self) -> bool:
        """An interrupt would wake one of the vCPUs."""
        return any(vcpu.activity is ActivityState.HLT and vcpu.state.interrupts_enabled for vcpu in self.vcpus)

    def idle_seconds(self) -> float:
        """How long an idle machine may sleep: until its next timer. With a virtual clock the time passes at once."""
        deadline = self.timers.next_deadline()
        if deadline is None:
            return float("inf")
        if self._virtual is not None:
            self._virtual.advance_to(deadline)
            return 0.0
        return max(deadline - self.clock.now(), 0) / _NANOSECONDS

    # Reports.

    def where(self, vcpu: Vcpu) -> str:
        """The place a vCPU is at, for messages."""
        return f"vCPU {vcpu.index} at RIP {vcpu.state.rip:#x}"

    def places(self) -> str:
        """Where every vCPU is, with the kernel's symbol if there is one."""
        return ", ".join(self._describe_place(vcpu) for vcpu in self.vcpus)

    def _describe_place(self, vcpu: Vcpu) -> str:
        if vcpu.activity is ActivityState.WAIT_FOR_SIPI:
            return _describe_activity(vcpu)
        place = self.where(vcpu) if vcpu.activity is ActivityState.ACTIVE else _describe_activity(vcpu)
        symbol = _symbol_at(self.pager.image, vcpu.state.rip)
        return place if symbol is None else f"{place} in {symbol}"

    def halted_for_ever(self) -> Ending:
        """Nobody can run, and nothing is left that could change that."""
        states = ", ".join(_describe_activity(vcpu) for vcpu in self.vcpus)
        return Ending.died(f"halted for ever: {states}; no timer is set and no interrupt can come")

    def _describe_triple_fault(self, vcpu: Vcpu, fault: TripleFault) -> str:
        state = vcpu.state
        cause = "" if fault.vector is None else f" that began with exception {fault.vector}"
        return (
            f"{self.where(vcpu)}: triple fault{cause}; CR0 {state.cr0:#x} CR2 {state.cr2:#x} CR3 {state.cr3:#x} "
            f"CR4 {state.cr4:#x} EFER {state.efer:#x} RSP {state.rsp:#x} CS {state.cs.selector:#x} RFLAGS {state.rflags:#x}"
        )


def _wait_for_nmi(_state: VcpuState) -> None:
    """What a processor does that is halted with interrupts off."""


def _end_slice(_vcpu: Vcpu, _exit: Exit) -> None:
    """The exit is for the scheduler."""


def _describe_activity(vcpu: Vcpu) -> str:
    if vcpu.activity is ActivityState.WAIT_FOR_SIPI:
        return f"vCPU {vcpu.index} waits for a start-up IPI"
    flag = "on" if vcpu.state.interrupts_enabled else "off"
    return f"vCPU {vcpu.index} halted at RIP {vcpu.state.rip:#x} with interrupts {flag}"


def _symbol_at(image: KernelImage, address: int) -> str | None:
    if not any(segment.vaddr <= address < segment.vaddr + segment.memsz for segment in image.segments):
        return None
    try:
        found = image.symbols.at(address)
    except KevError:
        return None
    return None if found is None else f"{found[0].name}+{found[1]:#x}"
