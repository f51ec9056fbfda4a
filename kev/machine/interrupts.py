"""Between the interrupt controllers and the processors: the pins of the vCPUs."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from kev import x86
from kev.engine.base import Engine, EntryState, VcpuState
from kev.engine.registers import SegmentRegister
from kev.machine.vcpu import ActivityState, Vcpu
from kev.subscribers import Subscribers


class Controllers(Protocol):
    """The local APICs, as the processors see them."""

    def pending(self, vcpu: int) -> int | None: ...

    def acknowledge(self, vcpu: int, vector: int) -> None: ...


def startup_state(vector: int) -> EntryState:
    """What a start-up IPI starts a processor with: real mode at `vector` << 12 (Intel SDM vol. 3, "MP initialization")."""
    return EntryState(
        rip=0,
        cs=SegmentRegister(vector << 8, vector << 12, x86.REAL_MODE_LIMIT, x86.CODE_16),
        data=SegmentRegister(0, 0, x86.REAL_MODE_LIMIT, x86.DATA_16),
        cr0=x86.CR0_REAL_MODE,
        idt_limit=x86.REAL_MODE_IDT_LIMIT,
        gdt_limit=x86.REAL_MODE_LIMIT,
    )


class Interrupts:
    """The INTR, NMI and INIT pins, and the SIPI messages, of every vCPU.

    The engine delivers an interrupt by itself when the guest allows; `synchronize` is the acknowledge cycle that follows.
    """

    def __init__(self, engine: Engine[Any], vcpus: Sequence[Vcpu], *, hurried: bool = False) -> None:
        """`hurried`: a vCPU that sends something to another lets go of the CPU, since it may be waiting for what that one does."""
        self._engine = engine
        self._hurried = hurried
        self._vcpus = vcpus
        self._controllers: Controllers | None = None
        self.offered: Final[list[int | None]] = [None] * len(vcpus)
        """The vector that each vCPU is offered, until the controllers know that it was taken."""
        self.runnable: Final[Subscribers[[]]] = Subscribers()
        """Are told that a vCPU can go on that could not."""
        self.urgent: Final[Subscribers[[int]]] = Subscribers()
        """Are told, if `hurried`, of the vCPU that should run next: another one has sent it something."""
        self.taken: Final[Subscribers[[Vcpu, int]]] = Subscribers()
        """Are told of a vector that a vCPU has taken."""
        self.sent: Final[Subscribers[[int, int]]] = Subscribers()
        """Are told that what a vCPU does on the CPU, the first, may change what comes to another one, the second."""
        self.initialized: Callable[[VcpuState], None] | None = None
        """Told of INIT for vCPU 0, if a hypervisor is what it comes to."""
        self.executing: int | None = None
        """The vCPU on the CPU."""

    def connect(self, controllers: Controllers) -> None:
        """Says who decides which vector is next."""
        self._controllers = controllers

    def synchronize(self, vcpu: Vcpu) -> None:
        """Tells the controllers of a vector the vCPU has taken meanwhile. Called before anything looks at their state."""
        if self.offered[vcpu.index] is None:
            return
        taken = self._engine.interrupt_taken(vcpu.state)
        if taken is not None and self._controllers is not None:
            self.offered[vcpu.index] = None
            self._controllers.acknowledge(vcpu.index, taken)
            for tell in self.taken.callbacks:
                tell(vcpu, taken)

    def loaded(self, vcpu: Vcpu) -> None:
        """The vCPU, and the controllers before it, have become others: what was offered to it does not count."""
        self.offered[vcpu.index] = None
        self._engine.interrupt_taken(vcpu.state)
        self._engine.raise_interrupt(vcpu.state, None)
        self.interrupt_changed(vcpu.index)

    def interrupt_changed(self, vcpu: int) -> None:
        """Offers the vCPU what is pending now, and wakes it from HLT."""
        if self._controllers is None:
            return
        target = self._vcpus[vcpu]
        self._note_sent(vcpu)
        self.synchronize(target)
        vector = self._controllers.pending(vcpu)
        if vector != self.offered[vcpu]:
            self.offered[vcpu] = vector
            self._engine.raise_interrupt(target.state, vector)
        if vector is not None and target.state.interrupts_enabled:
            self._wake(target)
            self._hurry(vcpu)

    def nmi(self, vcpu: int) -> None:
        self._note_sent(vcpu)
        target = self._vcpus[vcpu]
        self._engine.raise_nmi(target.state)
        self._wake(target)
        self._hurry(vcpu)

    def init(self, vcpu: int) -> None:
        """Resets a processor; it waits for a start-up IPI from now on."""
        self._note_sent(vcpu)
        target = self._vcpus[vcpu]
        if target.activity is ActivityState.ACTIVE:
            self._engine.yield_soon()
        if vcpu == 0 and self.initialized is not None:
            self.initialized(target.state)
        target.activity = ActivityState.WAIT_FOR_SIPI
        self.offered[vcpu] = None
        self._engine.raise_interrupt(target.state, None)

    def startup(self, vcpu: int, vector: int) -> None:
        self._note_sent(vcpu)
        target = self._vcpus[vcpu]
        if target.activity is not ActivityState.WAIT_FOR_SIPI:
            return
        target.startup = startup_state(vector)
        target.activity = ActivityState.ACTIVE
        self.runnable()
        self._hurry(vcpu)

    def _note_sent(self, vcpu: int) -> None:
        if self.executing is not None and self.executing != vcpu:
            self.sent(self.executing, vcpu)

    def _hurry(self, vcpu: int) -> None:
        if self._hurried and self.executing is not None and self.executing != vcpu:
            self._engine.yield_soon()
            self.urgent(vcpu)

    def _wake(self, vcpu: Vcpu) -> None:
        if vcpu.activity is ActivityState.HLT:
            vcpu.activity = ActivityState.ACTIVE
            for tell in self.runnable.callbacks:
                tell()
