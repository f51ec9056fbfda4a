"""Going back in a repeatable run: the run is repeated up to an earlier moment."""

from typing import Final

from kev.engine.registers import RaisedEvent
from kev.gdb.frames import Frame
from kev.gdb.history import Moment
from kev.gdb.registers import linear_rip
from kev.gdb.stepping import Steps
from kev.gdb.stops import Stop, StopReason
from kev.gdb.target import Target

_BEGINNING: Final = Moment(0, 0)
_IRET: Final = b"\xcf"
_IRETQ: Final = b"\x48\xcf"
_LONGEST_INSTRUCTION: Final = 15
_NOTICED_WITHIN: Final = 500
"""Instructions that a handler takes until the interrupt controller is told of the interrupt, at most."""


class Past:
    """The past of a target."""

    def __init__(self, target: Target, steps: Steps) -> None:
        self._target: Final = target
        self._steps: Final = steps

    async def go_to(self, moment: Moment) -> None:
        """To a moment of the past."""
        await self._target.player.rewind()
        self._target.death_is_known = False
        await self._target.player.repeat_until(moment)

    async def step(self, vcpu: int) -> Stop:
        """To before the instruction that the vCPU has retired last; handlers that returned in between are left out, too."""
        target, history = self._target, self._target.player.history
        moment = history.before(vcpu)
        while moment is not None:
            returned_to = target.state(vcpu).rip
            await self.go_to(moment)
            if not target.steps_over_handlers or not await self._is_about_to_return(vcpu):
                return Stop(StopReason.STEPPED, vcpu)
            if not await self._go_before_handler(vcpu, returned_to):
                await self.go_to(moment)
                return Stop(StopReason.STEPPED, vcpu)
            moment = history.before(vcpu)
        await self.go_to(_BEGINNING)
        return Stop(StopReason.HISTORY_BEGINS, vcpu)

    async def go_on(self, vcpu: int) -> Stop:
        """To the last breakpoint or watchpoint before now, or to the beginning; interrupted, it stays. `vcpu` is looked at."""
        here = self._target.player.history.now
        found = await self._last_trap_before(here)
        if self._target.interrupted:
            await self.go_to(here)
            return Stop(StopReason.INTERRUPTED, vcpu)
        if found is None:
            await self.go_to(_BEGINNING)
            return Stop(StopReason.HISTORY_BEGINS, vcpu)
        moment, stop = found
        await self.go_to(moment)
        return stop

    async def _last_trap_before(self, here: Moment) -> tuple[Moment, Stop] | None:
        """Repeats the run up to `here`."""
        target, player, history = self._target, self._target.player, self._target.player.history
        await player.rewind()
        target.set_traps()
        found = None
        history.end = here
        while history.now < here and not target.interrupted:
            stop = target.stop_of(await player.advance())
            if stop is None or stop.reason not in (StopReason.BREAKPOINT, StopReason.WATCHPOINT):
                continue
            # A watchpoint is met behind the instruction: back in time, that is undone.
            moment = history.now if stop.reason is StopReason.BREAKPOINT else history.before(stop.vcpu)
            if moment is not None and moment[:2] < here[:2]:
                found = moment, stop
        history.end = None
        return found

    # Handlers.

    async def _is_about_to_return(self, vcpu: int) -> bool:
        """Its next instruction is IRET."""
        code = await self._target.peek(vcpu, linear_rip(self._target.state(vcpu)), 2)
        return code.startswith(_IRET) or code == _IRETQ

    async def _go_before_handler(self, vcpu: int, returned_to: int) -> bool:
        """To before the exception or interrupt whose handler returns to `returned_to`, or has skipped what is before that.

        False if there was none: a software interrupt is an instruction like others, and a step goes into its handler.
        """
        for event in reversed(self._target.state(vcpu).history):
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
        history, retired = self._target.player.history, event.instructions
        since = retired - self._target.player.retired_before[vcpu]
        moment = history.moment_of(vcpu, max(since - (_NOTICED_WITHIN if event.rip is None else 1), 0))
        if moment is None:
            return None
        await self.go_to(moment)
        found = None
        while True:
            if await self._is_where_it_came(vcpu, event, returned_to):
                found = history.now
            if self._target.state(vcpu).instructions >= retired or await self._steps.once(vcpu) is not None:
                return found

    async def _is_where_it_came(self, vcpu: int, event: RaisedEvent, returned_to: int) -> bool:
        """Before the instruction that was kept from being executed, or before the handler of an interrupt that came behind one."""
        rip = self._target.state(vcpu).rip
        if event.rip is not None:
            return rip == event.rip
        if rip == returned_to:
            return True
        frame = await Frame.read(self._target, vcpu)
        return frame.is_interrupted and frame.rip == returned_to
