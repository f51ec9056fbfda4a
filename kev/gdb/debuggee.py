"""What a debugger does with a run: let it go on until something stops it, step, go back."""

from typing import Final, NamedTuple

import attrs

from kev import x86
from kev.engine.base import Budget, VcpuState
from kev.engine.registers import RaisedEvent
from kev.exits import Access, Breakpoint, Exit, Watchpoint
from kev.gdb.history import Moment
from kev.gdb.memory import DebugMemory
from kev.gdb.player import Player
from kev.gdb.registers import Registers, linear_rip
from kev.gdb.stops import Stop, StopReason
from kev.gdb.target_description import I386, I8086, X86_64, Architecture
from kev.machine.ending import Ending, EndingKind
from kev.machine.step import Ended, Ran, Step, Stopped
from kev.machine.vcpu import ActivityState

_TURN: Final = Budget(seconds=0.005)
_COUNTED_TURN: Final = Budget(instructions=10_000)
_INSTRUCTION: Final = Budget(instructions=1)
_PATIENCE: Final = 256
"""Single steps in a row without others: whoever steps may be waiting for them."""
_BEGINNING: Final = Moment(0, 0)
_IRET: Final = b"\xcf"
_IRETQ: Final = b"\x48\xcf"
_LONGEST_INSTRUCTION: Final = 15
_NOTICED_WITHIN: Final = 500
"""Instructions that a handler takes until the interrupt controller is told of the interrupt, at most."""


@attrs.frozen(slots=True, kw_only=True)
class Resumption:
    """How a debugger lets a machine go on."""

    step: int | None = None
    """The vCPU that is to do a single step; None: nobody."""
    bounds: range | None = None
    """More steps follow as long as its instruction pointer is in here."""
    alone: int | None = None
    """The only vCPU that may run, if it can; None: all. What is repeated is not changed by it."""


class _Place(NamedTuple):
    """Where a vCPU is before it steps."""

    rip: int
    rsp: int
    pc: int
    """RIP as a linear address."""
    selector: int
    """CS."""
    instructions: int
    """Retired so far."""


class _Return(NamedTuple):
    """Where a handler returns to."""

    pc: int
    """As a linear address."""
    rsp: int
    """Behind the return."""
    slot: range | None
    """The linear addresses where the handler finds the return address, if it is about to begin."""


class Debuggee:
    """A run that is debugged. Between the calls of its coroutines, the machine stands still."""

    def __init__(self, player: Player) -> None:
        self.player: Final = player
        self.breakpoints: Final[set[int]] = set()
        """Linear addresses."""
        self.watchpoints: Final[set[tuple[range, Access]]] = set()
        """Linear addresses, and what is not to happen to them unnoticed."""
        self.architecture: Architecture | None = None
        """What sessions to come are about; None: what suits the machine."""
        self.steps_over_handlers = True
        """A single step that raises an exception, or is interrupted, is done when the handler has returned and it could be done."""
        self._interrupted = False
        self._death_is_known = False
        self._last_vcpu = 0
        self._steps_alone = 0

    # What it looks like.

    @property
    def memory(self) -> DebugMemory:
        return DebugMemory(self.player.machine)

    @property
    def vcpus(self) -> range:
        return range(len(self.player.machine.vm.vcpus))

    def state(self, vcpu: int) -> VcpuState:
        return self.player.machine.vm.vcpus[vcpu].state

    def registers(self, vcpu: int) -> Registers:
        return Registers(self.player.machine.vm, vcpu)

    def describe(self, vcpu: int) -> str:
        """Where a vCPU is, for people."""
        return self.player.machine.places()[vcpu]

    def choose_architecture(self) -> Architecture:
        """What a session that begins now is about: the image, or the mode that the guest has reached."""
        if self.architecture is not None:
            return self.architecture
        vm = self.player.machine.vm
        states = [vcpu.state for vcpu in vm.vcpus if vcpu.activity is not ActivityState.WAIT_FOR_SIPI]
        if vm.pager.image.bits == 64 or any(state.efer & x86.EFER_LMA for state in states):
            return X86_64
        return I386 if any(state.cr0 & x86.CR0_PE for state in states) else I8086

    # Going on.

    def interrupt(self) -> None:
        """Makes what runs stop, as soon as can be."""
        self._interrupted = True
        self.player.wake()

    async def resume(self, resumption: Resumption) -> Stop:
        """Goes on until something stops the machine. After the guest's death, that is the end of the run."""
        self._interrupted = False
        self._set_traps()
        if resumption.step is not None:
            return await self._step(resumption.step, resumption)
        while (stop := await self._advance(resumption.alone)) is None:
            pass
        return stop

    async def _advance(self, alone: int | None, budget: Budget | None = None) -> Stop | None:
        """One step of the machine; why it was the last, if it was."""
        player = self.player
        if self._interrupted:
            return Stop(StopReason.INTERRUPTED, self._last_vcpu)
        if alone is not None and player.machine.vm.vcpus[alone].runnable:
            player.history.insist(alone, budget or (_COUNTED_TURN if player.reversible else _TURN))
        return self._stop_of(await player.advance())

    def _stop_of(self, step: Step) -> Stop | None:
        if isinstance(step, Ended):
            return self._stop_of_ending(step.ending)
        if isinstance(step, Ran | Stopped):
            self._last_vcpu = step.vcpu
        if isinstance(step, Stopped):
            return self._stop_of_trap(step.vcpu, step.exit)
        return None

    def _stop_of_trap(self, vcpu: int, exit: Exit) -> Stop | None:
        if isinstance(exit, Breakpoint):
            return Stop(StopReason.BREAKPOINT, vcpu, exit.gva)
        if isinstance(exit, Watchpoint):
            return Stop(StopReason.WATCHPOINT, vcpu, exit.gva)
        return None

    def _stop_of_ending(self, ending: Ending) -> Stop:
        """A death stops the machine before it ends it."""
        if ending.kind is EndingKind.DIED and not self._death_is_known:
            self._death_is_known = True
            return Stop(StopReason.DIED, self._last_vcpu, message=ending.message)
        return Stop(StopReason.ENDED, self._last_vcpu, message=ending.message)

    def _set_traps(self, breakpoint: int | None = None, watchpoint: range | None = None) -> None:
        """Gives the engine the debugger's breakpoints and watchpoints, and one more of each."""
        engine = self.player.machine.vm.engine
        engine.set_breakpoints(frozenset(self.breakpoints if breakpoint is None else {*self.breakpoints, breakpoint}))
        watchpoints = list(self.watchpoints)
        engine.set_watchpoints(watchpoints if watchpoint is None else [*watchpoints, (watchpoint, Access.WRITE)])

    def forget_traps(self) -> None:
        """There is no debugger any more."""
        self.breakpoints.clear()
        self.watchpoints.clear()
        self._set_traps()

    # Single steps.

    async def _step(self, vcpu: int, resumption: Resumption) -> Stop:
        while True:
            place = self._place(vcpu)
            stop = await self._step_once(vcpu, resumption.alone)
            if stop is not None:
                return stop
            event = self._event_since(vcpu, place)
            if event is not None and self.steps_over_handlers:
                stop = await self._run_handler(vcpu, place, event, resumption.alone)
                if stop is not None:
                    return stop
                if self._place(vcpu).rip == place.rip:
                    continue
            pc = linear_rip(self.state(vcpu))
            if resumption.bounds is None or pc not in resumption.bounds:
                return Stop(StopReason.STEPPED, vcpu)
            if pc in self.breakpoints:
                return Stop(StopReason.BREAKPOINT, vcpu, pc)

    async def _step_once(self, vcpu: int, alone: int | None) -> Stop | None:
        """Until the vCPU has retired an instruction. Others run if it cannot, and if they are to and it seems to wait for them."""
        history, state = self.player.history, self.state(vcpu)
        before = state.instructions
        self.player.machine.vm.engine.pass_breakpoint(state)
        history.stepping = vcpu
        try:
            while state.instructions == before:
                self._steps_alone += 1
                waits = alone is None and (self.player.reversible or self._steps_alone % _PATIENCE == 0)
                stop = await self._advance(None if waits else vcpu, _INSTRUCTION)
                if stop is not None:
                    return stop
        finally:
            history.stepping = None
        return None

    # Handlers of exceptions and interrupts, while a vCPU steps.

    def _place(self, vcpu: int) -> _Place:
        state = self.state(vcpu)
        return _Place(state.rip, state.rsp, linear_rip(state), state.cs.selector, state.instructions)

    def _event_since(self, vcpu: int, place: _Place) -> RaisedEvent | None:
        """The exception that the instruction at `place` has raised, or the interrupt that has come, if any did."""
        for event in reversed(self.state(vcpu).history):
            if event.instructions < place.instructions:
                return None
            if event.rip in (None, place.rip):
                return event
        return None

    async def _run_handler(self, vcpu: int, place: _Place, event: RaisedEvent, alone: int | None) -> Stop | None:
        """Until the handler has returned; why it did not get so far, if it did not."""
        back = await self._return_of(vcpu, place, event)
        self._set_traps(back.pc, back.slot)
        try:
            while True:
                stop = await self._advance(alone)
                if stop is None:
                    continue
                if stop.reason is StopReason.BREAKPOINT and stop.address == back.pc:
                    if stop.vcpu == vcpu and self.state(vcpu).rsp == back.rsp:
                        return None
                    if back.pc not in self.breakpoints:
                        continue
                slot = back.slot
                if slot is not None and stop.reason is StopReason.WATCHPOINT and stop.address in slot:
                    # The handler wants to return to somewhere else.
                    rip = int.from_bytes(await self.memory.read(vcpu, slot.start, len(slot)), "little")
                    back = back._replace(pc=place.pc - place.rip + rip)
                    self._set_traps(back.pc, slot)
                    continue
                return stop
        finally:
            self._set_traps()

    async def _return_of(self, vcpu: int, place: _Place, event: RaisedEvent) -> _Return:
        """Where a handler that is about to begin will return to, by its stack frame (Intel SDM vol. 3, "Exception handling").

        An exception keeps an instruction from being executed. An interrupt may come before it, and then the handler's first
        instruction is done already, or behind it.
        """
        state = self.state(vcpu)
        size = self._word_size(vcpu)
        start = state.segment("ss").base + state.rsp + (0 if event.error_code is None else size)
        before = _Return(place.pc, place.rsp, None)
        if event.rip is not None:
            return before._replace(slot=range(start, start + size))
        rip, selector, flags, rsp = await self._words(vcpu, start, size)
        if selector & 0xFFFF != place.selector or not flags & x86.RFLAGS_IF:
            return before
        has_stack = size == 8 or (size == 4 and selector & 3 != state.cpl)
        return _Return(place.pc - place.rip + rip, rsp if has_stack else state.rsp + 3 * size, None)

    async def _words(self, vcpu: int, address: int, size: int) -> tuple[int, int, int, int]:
        """What is in a stack frame: the instruction pointer, CS, the flags, and what may be the stack pointer."""
        frame = await self.memory.read(vcpu, address, 4 * size)
        rip, selector, flags, rsp = (int.from_bytes(frame[size * index :][:size], "little") for index in range(4))
        return rip, selector, flags, rsp

    # Going back.

    async def reverse_step(self, vcpu: int) -> Stop:
        """To before the instruction that the vCPU has retired last; handlers that returned in between are left out, too."""
        self._interrupted = False
        moment = self.player.history.before(vcpu)
        while moment is not None:
            returned_to = self.state(vcpu).rip
            await self.go_to(moment)
            if not self.steps_over_handlers or not await self._is_about_to_return(vcpu):
                return Stop(StopReason.STEPPED, vcpu)
            if not await self._go_before_handler(vcpu, returned_to):
                await self.go_to(moment)
                return Stop(StopReason.STEPPED, vcpu)
            moment = self.player.history.before(vcpu)
        await self.go_to(_BEGINNING)
        return Stop(StopReason.HISTORY_BEGINS, vcpu)

    async def reverse_continue(self, vcpu: int) -> Stop:
        """To the last breakpoint or watchpoint before now, or to the beginning."""
        self._interrupted = False
        here = self.player.history.now
        found = await self._last_trap_before(here)
        if self._interrupted:
            await self.go_to(here)
            return Stop(StopReason.INTERRUPTED, vcpu)
        if found is None:
            await self.go_to(_BEGINNING)
            return Stop(StopReason.HISTORY_BEGINS, vcpu)
        moment, stop = found
        await self.go_to(moment)
        return stop

    async def go_to(self, moment: Moment) -> None:
        """To a moment of the past."""
        await self.player.rewind()
        self._death_is_known = False
        await self.player.repeat_until(moment)

    async def _last_trap_before(self, here: Moment) -> tuple[Moment, Stop] | None:
        """Repeats the run up to `here`."""
        player, history = self.player, self.player.history
        await player.rewind()
        self._set_traps()
        found = None
        history.end = here
        while history.now < here and not self._interrupted:
            stop = self._stop_of(await player.advance())
            if stop is None or stop.reason not in (StopReason.BREAKPOINT, StopReason.WATCHPOINT):
                continue
            moment = history.now if stop.reason is StopReason.BREAKPOINT else history.before(stop.vcpu)
            if moment is not None and moment[:2] < here[:2]:
                found = moment, stop
        history.end = None
        return found

    async def _is_about_to_return(self, vcpu: int) -> bool:
        """Its next instruction is IRET."""
        code = await self.memory.read(vcpu, linear_rip(self.state(vcpu)), 2)
        return code.startswith(_IRET) or code == _IRETQ

    async def _go_before_handler(self, vcpu: int, returned_to: int) -> bool:
        """To before the exception or interrupt whose handler returns to `returned_to`, or has skipped what is before that.

        False if there was none: a software interrupt is an instruction like others, and a step goes into its handler.
        """
        for event in reversed(self.state(vcpu).history):
            if event.rip is not None and not 0 <= returned_to - event.rip <= _LONGEST_INSTRUCTION:
                continue
            moment = await self._entry_of(vcpu, event, returned_to)
            if moment is not None:
                await self.go_to(moment)
                return True
        return False

    async def _entry_of(self, vcpu: int, event: RaisedEvent, returned_to: int) -> Moment | None:
        """The moment before the handler of an exception or interrupt began, found by stepping through where it must be.

        The instruction that faulted counts, too, though it is executed again; an interrupt is noticed after it was taken.
        """
        history, state = self.player.history, self.state
        rip = returned_to if event.rip is None else event.rip
        first = event.instructions - (_NOTICED_WITHIN if event.rip is None else 1)
        moment = history.moment_of(vcpu, max(first, 0))
        if moment is None:
            return None
        await self.go_to(moment)
        found = None
        while True:
            if state(vcpu).rip == rip or (event.rip is None and await self._is_interrupted_at(vcpu, rip)):
                found = history.now
            if state(vcpu).instructions >= event.instructions or await self._step_once(vcpu, None) is not None:
                return found

    async def _is_interrupted_at(self, vcpu: int, rip: int) -> bool:
        """The handler of an interrupt is about to begin, and will return to `rip`."""
        state = self.state(vcpu)
        found, _, flags, _ = await self._words(vcpu, state.segment("ss").base + state.rsp, self._word_size(vcpu))
        return found == rip and bool(flags & x86.RFLAGS_IF)

    def _word_size(self, vcpu: int) -> int:
        """Bytes of what an exception pushes."""
        state = self.state(vcpu)
        return 8 if state.efer & x86.EFER_LMA else 4 if state.cr0 & x86.CR0_PE else 2
