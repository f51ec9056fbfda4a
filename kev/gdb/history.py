"""The history of a run: every turn of every vCPU, so that the run can be repeated and a debugger can go back in it.

A repeatable machine does the same again if the same vCPUs get the same turns, and the same comes from outside at the same moments.
Both are written down here. A debugger cuts turns short, at breakpoints and for single steps; a turn that was cut goes on with what
is left of it, so that looking does not change what is looked at.
"""

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from kev.engine.base import Budget
from kev.machine.schedule import ANYTHING, Decision, Scheduler

if TYPE_CHECKING:
    from kev.machine.machine import Machine


@attrs.define(slots=True)
class Turn:
    """A decision of the scheduler, and what came of it."""

    vcpu: int
    budget: Budget
    executed: int = 0
    """Instructions retired, as far as it has come."""

    @property
    def left(self) -> int | None:
        """Instructions of its budget that are left; None if they are not counted."""
        return None if self.budget.instructions is None else self.budget.instructions - self.executed


class Moment(NamedTuple):
    """A place in the history. Moments are in the order of time."""

    turns: int
    """How many were over."""
    executed: int
    """Instructions that the turn after them had retired."""
    idle: int = 0
    """How often nobody could run since then."""


class Happening(NamedTuple):
    """What came from outside: input, or a debugger's writing."""

    moment: Moment
    act: Callable[["Machine"], Awaitable[None]]


class History:
    """The turns of a run, of which those in front of `now` are to be repeated. Whoever steps the machine tells `note` each step."""

    def __init__(self, scheduler: Scheduler, *, kept: bool) -> None:
        """`scheduler` decides where the history ends. If it is not `kept`, nothing is remembered."""
        self.kept: Final = kept
        self.turns: Final[list[Turn]] = []
        self.happenings: Final[list[Happening]] = []
        self.stepping: int | None = None
        """A vCPU whose turns are cut after one instruction."""
        self.end: Moment | None = None
        """Turns are cut here."""
        self._scheduler: Final = scheduler
        self._turns_over = 0
        self._executed = 0
        self._idle = 0
        self._current: Turn | None = None
        self._postponed: Turn | None = None
        self._length = 0

    # Now.

    @property
    def now(self) -> Moment:
        return Moment(self._turns_over, self._executed, self._idle)

    @property
    def is_past(self) -> bool:
        """What comes next has happened before."""
        known = len(self.turns)
        current = self._current
        if current is not None and self._turns_over == known - 1:
            return self._executed < current.executed
        return self._turns_over < known

    @property
    def current(self) -> Turn | None:
        """The turn that was cut and goes on next, if one was."""
        return self._current

    def rewind(self) -> None:
        """A new machine begins: everything is to be repeated."""
        self._turns_over = self._executed = self._idle = 0
        self._current = None

    def happen(self, act: Callable[["Machine"], Awaitable[None]]) -> None:
        """Something came from outside now. What had come after now is forgotten: it will be another."""
        if not self.kept:
            return
        now = self.now
        if self.is_past:
            self._forget_future()
        self.happenings.append(Happening(now, act))

    def due(self, index: int) -> Happening | None:
        """The happening of that number, if its moment is now."""
        if index < len(self.happenings) and self.happenings[index].moment == self.now:
            return self.happenings[index]
        return None

    def before(self, vcpu: int) -> Moment | None:
        """The moment before the instruction that `vcpu` has retired last; None if it has retired none."""
        if self._current is not None and self._current.vcpu == vcpu and self._executed:
            return Moment(self._turns_over, self._executed - 1)
        for index in range(self._turns_over - 1, -1, -1):
            turn = self.turns[index]
            if turn.vcpu == vcpu and turn.executed:
                return Moment(index, turn.executed - 1)
        return None

    def moment_of(self, vcpu: int, retired: int) -> Moment | None:
        """The moment at which `vcpu` had retired so many instructions, before it retired the next; None if it never was."""
        for index, turn in enumerate(self.turns):
            if turn.vcpu == vcpu:
                if retired < turn.executed:
                    return Moment(index, retired)
                retired -= turn.executed
        return None

    # Being a scheduler.

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Decision:
        """See `kev.machine.schedule.Scheduler`."""
        turn = self._current
        if turn is None or turn.vcpu not in runnable:
            self._finish_turn()
            turn = self._current = self._next_turn(runnable)
        if turn.budget.instructions is None:
            return Decision(turn.vcpu, Budget(instructions=1) if turn.vcpu == self.stepping else turn.budget)
        self._length = self._until_cut(turn)
        return Decision(turn.vcpu, Budget(instructions=self._length))

    def insist(self, vcpu: int, budget: Budget) -> None:
        """The next turn is of `vcpu`; another's that was cut goes on later. Does nothing in the past, which cannot be changed."""
        if self.is_past or (self._current is not None and self._current.vcpu == vcpu):
            return
        self._postpone()
        self._current = self._remember(Turn(vcpu, budget))

    def _postpone(self) -> None:
        cut = self._current
        if cut is None:
            return
        if cut.left:
            self._postponed = Turn(cut.vcpu, Budget(instructions=cut.left))
            cut.budget = Budget(instructions=cut.executed)
        if cut.executed:
            self._finish_turn()
        else:
            self._current = None
            if self.kept:
                self.turns.pop()

    def was_cut(self, retired: int) -> bool:
        """Whether a turn of which so many instructions have retired has come to where `next` has cut it."""
        return retired >= self._length

    def note(self, retired: int, *, over: bool) -> None:
        """The turn that `next` has decided on last has retired so many more instructions. `over`: it does not go on."""
        turn = self._current
        assert turn is not None
        self._executed += retired
        turn.executed = max(turn.executed, self._executed)
        self._idle = 0
        if over or turn.budget.instructions is None or self._executed >= turn.budget.instructions:
            self._finish_turn()

    def note_idle(self) -> None:
        """Nobody could run."""
        if self._current is not None:
            self._finish_turn()
        self._idle += 1

    def _next_turn(self, runnable: Sequence[int]) -> Turn:
        if self._turns_over < len(self.turns):
            return self.turns[self._turns_over]
        postponed, self._postponed = self._postponed, None
        if postponed is not None and postponed.vcpu in runnable:
            return self._remember(postponed)
        decision = self._scheduler.next(runnable)
        return self._remember(Turn(decision.vcpu, decision.budget))

    def _remember(self, turn: Turn) -> Turn:
        if self.kept:
            self.turns.append(turn)
        return turn

    def _until_cut(self, turn: Turn) -> int:
        """How many instructions of a turn come before it is cut."""
        assert turn.budget.instructions is not None
        ends = [turn.budget.instructions]
        if turn.vcpu == self.stepping:
            ends.append(self._executed + 1)
        if self.end is not None and self.end.turns == self._turns_over:
            ends.append(self.end.executed)
        for happening in self._happenings_in_turn():
            if happening.moment.executed > self._executed:
                ends.append(happening.moment.executed)
                break
        return min(ends) - self._executed

    def _happenings_in_turn(self) -> Sequence[Happening]:
        start = bisect_left(self.happenings, self._turns_over, key=lambda happening: happening.moment.turns)
        stop = bisect_left(self.happenings, self._turns_over + 1, key=lambda happening: happening.moment.turns)
        return self.happenings[start:stop]

    def _finish_turn(self) -> None:
        if self._current is None:
            return
        self._current = None
        self._turns_over += 1
        self._executed = self._idle = 0

    def _forget_future(self) -> None:
        now = self.now
        current = self._current
        if current is not None:
            current.executed = self._executed
        del self.turns[self._turns_over + (current is not None) :]
        self.happenings[:] = [happening for happening in self.happenings if happening.moment <= now]
