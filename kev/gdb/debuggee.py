"""What a debugger does with a run: let it go on until something stops it, step, go back."""

from typing import Final

from kev.gdb.history import Moment
from kev.gdb.past import Past
from kev.gdb.player import Player
from kev.gdb.resumption import Resumption
from kev.gdb.stepping import Steps
from kev.gdb.stops import Stop
from kev.gdb.target import Target


class Debuggee(Target):
    """A run that is debugged. Between the calls of its coroutines, the machine stands still."""

    def __init__(self, player: Player) -> None:
        super().__init__(player)
        self._steps: Final = Steps(self)
        self._past: Final = Past(self, self._steps)

    async def resume(self, resumption: Resumption) -> Stop:
        """Goes on until something stops the machine. After the guest's death, that is the end of the run."""
        self.interrupted = False
        self.set_traps()
        if resumption.step is not None:
            return await self._steps.step(resumption.step, resumption)
        while (stop := await self.advance(resumption.alone)) is None:
            pass
        return stop

    async def reverse_step(self, vcpu: int) -> Stop:
        """To before the instruction that the vCPU has retired last."""
        self.interrupted = False
        return await self._past.step(vcpu)

    async def reverse_continue(self, vcpu: int) -> Stop:
        """To the last breakpoint or watchpoint before now, or to the beginning."""
        self.interrupted = False
        return await self._past.go_on(vcpu)

    async def go_to(self, moment: Moment) -> None:
        """To a moment of the past."""
        await self._past.go_to(moment)
