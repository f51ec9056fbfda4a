"""The machine that is debugged, as it stands; and one step of it, which may be the last for now."""

from typing import Final

from kev import x86
from kev.engine.base import Budget, VcpuState
from kev.exits import Access, Breakpoint, Exit, Watchpoint
from kev.gdb.errors import GdbError
from kev.gdb.memory import DebugMemory
from kev.gdb.player import Player
from kev.gdb.registers import Registers
from kev.gdb.stops import Stop, StopReason
from kev.gdb.target_description import I386, I8086, X86_64, Architecture
from kev.machine.ending import Ending, EndingKind
from kev.machine.step import Ended, Ran, Step, Stopped
from kev.machine.vcpu import ActivityState

_TURN: Final = Budget(seconds=0.005)
_COUNTED_TURN: Final = Budget(instructions=10_000)


class Target:
    """What is debugged: a run, its breakpoints and watchpoints."""

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
        self.interrupted = False
        """Somebody wants the machine to stop."""
        self.death_is_known = False
        """The guest is dead, and the debugger was told so."""
        self._last_vcpu = 0

    # What it looks like.

    @property
    def memory(self) -> DebugMemory:
        return DebugMemory(self.player.machine)

    @property
    def vcpus(self) -> range:
        return range(len(self.player.machine.vm.vcpus))

    async def peek(self, vcpu: int, address: int, length: int) -> bytes:
        """Memory as a vCPU sees it; what cannot be read is 0."""
        try:
            return (await self.memory.read(vcpu, address, length)).ljust(length, b"\0")
        except GdbError:
            return bytes(length)

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

    def interrupt(self) -> None:
        """Makes what runs stop, as soon as can be."""
        self.interrupted = True
        self.player.wake()

    # One step.

    async def advance(self, alone: int | None, budget: Budget | None = None) -> Stop | None:
        """One step of the machine; why it was the last, if it was. The turn is of `alone`, if it can run, and has a `budget`."""
        player = self.player
        if self.interrupted:
            return Stop(StopReason.INTERRUPTED, self._last_vcpu)
        if alone is not None and player.machine.vm.vcpus[alone].runnable:
            player.history.insist(alone, budget or (_COUNTED_TURN if player.reversible else _TURN))
        return self.stop_of(await player.advance())

    def stop_of(self, step: Step) -> Stop | None:
        """Why the machine is to stand still after a step, if it is."""
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
        if ending.kind is EndingKind.DIED and not self.death_is_known:
            self.death_is_known = True
            return Stop(StopReason.DIED, self._last_vcpu, message=ending.message)
        return Stop(StopReason.ENDED, self._last_vcpu, message=ending.message)

    def set_traps(self, breakpoint: int | None = None, watchpoint: range | None = None) -> None:
        """Gives the engine the debugger's breakpoints and watchpoints, and one more of each."""
        engine = self.player.machine.vm.engine
        engine.set_breakpoints(frozenset(self.breakpoints if breakpoint is None else {*self.breakpoints, breakpoint}))
        watchpoints = list(self.watchpoints)
        engine.set_watchpoints(watchpoints if watchpoint is None else [*watchpoints, (watchpoint, Access.WRITE)])

    def forget_traps(self) -> None:
        """There is no debugger any more."""
        self.breakpoints.clear()
        self.watchpoints.clear()
        self.set_traps()
