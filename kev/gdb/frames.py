"""Stack frames of exceptions and interrupts: where handlers return to (Intel SDM vol. 3, "Interrupt and exception handling")."""

from typing import NamedTuple, Self

from kev import x86
from kev.engine.base import VcpuState
from kev.engine.registers import RaisedEvent
from kev.gdb.registers import linear_rip
from kev.gdb.target import Target


class Place(NamedTuple):
    """Where a vCPU is before it steps."""

    rip: int
    rsp: int
    pc: int
    """RIP as a linear address."""
    selector: int
    """CS."""
    instructions: int
    """Retired so far."""

    @classmethod
    def of(cls, state: VcpuState) -> Self:
        return cls(state.rip, state.rsp, linear_rip(state), state.cs.selector, state.instructions)

    def linear(self, rip: int) -> int:
        """The linear address of another instruction in the same code segment."""
        return self.pc - self.rip + rip


class Return(NamedTuple):
    """Where a handler returns to."""

    pc: int
    """As a linear address."""
    rsp: int
    """Behind the return."""
    slot: range | None = None
    """The linear addresses where the handler finds the return address, if it is about to begin."""


class Frame(NamedTuple):
    """What is on top of a stack, as an interrupt leaves it there."""

    size: int
    """Of each of its words, in bytes."""
    rip: int
    selector: int
    flags: int
    rsp: int
    """If the frame has a stack pointer."""

    @classmethod
    async def read(cls, target: Target, vcpu: int) -> Self:
        size = _word_size(target.state(vcpu))
        words = await target.peek(vcpu, _top(target.state(vcpu)), 4 * size)
        return cls(size, *(int.from_bytes(words[size * index :][:size], "little") for index in range(4)))

    @property
    def is_interrupted(self) -> bool:
        """It may have been pushed by an external interrupt: those are taken with RFLAGS.IF set only."""
        return bool(self.flags & x86.RFLAGS_IF)


async def return_of(target: Target, vcpu: int, place: Place, event: RaisedEvent) -> Return:
    """Where the handler of an exception or interrupt that has come at `place` will return to.

    An exception keeps an instruction from being executed, and its handler is about to begin. An interrupt may come before the
    instruction, and then the handler's first instruction is done already, or behind it.
    """
    state = target.state(vcpu)
    before = Return(place.pc, place.rsp)
    if event.rip is not None:
        size = _word_size(state)
        start = _top(state) + (0 if event.error_code is None else size)
        return before._replace(slot=range(start, start + size))
    frame = await Frame.read(target, vcpu)
    if frame.selector & 0xFFFF != place.selector or not frame.is_interrupted:
        return before
    has_stack_pointer = frame.size == 8 or (frame.size == 4 and frame.selector & 3 != state.cpl)
    return Return(place.linear(frame.rip), frame.rsp if has_stack_pointer else state.rsp + 3 * frame.size)


def _top(state: VcpuState) -> int:
    """The linear address of the top of the stack."""
    return state.segment("ss").base + state.rsp


def _word_size(state: VcpuState) -> int:
    """Bytes of each word that an exception pushes."""
    return 8 if state.efer & x86.EFER_LMA else 4 if state.cr0 & x86.CR0_PE else 2
