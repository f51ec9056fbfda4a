"""Single steps, which are done when the handlers of what came in between have returned."""

from typing import Final

from kev.engine.base import Budget
from kev.engine.registers import RaisedEvent
from kev.gdb.frames import Place, return_of
from kev.gdb.registers import linear_rip
from kev.gdb.resumption import Resumption
from kev.gdb.stops import Stop, StopReason
from kev.gdb.target import Target

_INSTRUCTION: Final = Budget(instructions=1)
_PATIENCE: Final = 256
"""Single steps in a row without others: whoever steps may be waiting for them."""


class Steps:
    """Steps vCPUs of a target."""

    def __init__(self, target: Target) -> None:
        self._target: Final = target
        self._count = 0

    async def step(self, vcpu: int, resumption: Resumption) -> Stop:
        """One step, or more while they stay in bounds."""
        target = self._target
        while True:
            place = Place.of(target.state(vcpu))
            stop = await self.once(vcpu, resumption.alone)
            if stop is not None:
                return stop
            event = self._event_since(vcpu, place)
            if event is not None and target.steps_over_handlers:
                stop = await self._run_handler(vcpu, place, event, resumption.alone)
                if stop is not None:
                    return stop
                if target.state(vcpu).rip == place.rip:
                    continue
            pc = linear_rip(target.state(vcpu))
            if resumption.bounds is None or pc not in resumption.bounds:
                return Stop(StopReason.STEPPED, vcpu)
            if pc in target.breakpoints:
                return Stop(StopReason.BREAKPOINT, vcpu, pc)

    async def once(self, vcpu: int, alone: int | None = None) -> Stop | None:
        """Until the vCPU has retired an instruction. Others run if it cannot, and if they may and it seems to wait for them."""
        target, state = self._target, self._target.state(vcpu)
        history, before = target.player.history, state.instructions
        target.player.machine.vm.engine.pass_breakpoint(state)
        history.stepping = vcpu
        try:
            while state.instructions == before:
                self._count += 1
                waits = alone is None and (target.player.reversible or self._count % _PATIENCE == 0)
                stop = await target.advance(None if waits else vcpu, _INSTRUCTION)
                if stop is not None:
                    return stop
        finally:
            history.stepping = None
        return None

    def _event_since(self, vcpu: int, place: Place) -> RaisedEvent | None:
        """The exception that the instruction at `place` has raised, or the interrupt that has come, if any did."""
        for event in reversed(self._target.state(vcpu).history):
            if event.instructions < place.instructions:
                return None
            if event.rip in (None, place.rip):
                return event
        return None

    async def _run_handler(self, vcpu: int, place: Place, event: RaisedEvent, alone: int | None) -> Stop | None:
        """Until the handler has returned; why it did not get so far, if it did not."""
        target = self._target
        back = await return_of(target, vcpu, place, event)
        target.set_traps(back.pc, back.slot)
        try:
            while True:
                stop = await target.advance(alone)
                if stop is None:
                    continue
                if stop.reason is StopReason.BREAKPOINT and stop.address == back.pc:
                    if stop.vcpu == vcpu and target.state(vcpu).rsp == back.rsp:
                        return None
                    if back.pc not in target.breakpoints:
                        continue
                if stop.reason is StopReason.WATCHPOINT and back.slot is not None and stop.address in back.slot:
                    # The handler wants to return to somewhere else.
                    rip = int.from_bytes(await target.peek(vcpu, back.slot.start, len(back.slot)), "little")
                    back = back._replace(pc=place.linear(rip))
                    target.set_traps(back.pc, back.slot)
                    continue
                return stop
        finally:
            target.set_traps()
