"""The history of a run: every turn of every vCPU, so that the run can be repeated and a debugger can go back in it.

A repeatable machine does the same again if the same vCPUs get the same turns, and the same comes from outside at the same moments.
Both are written down here. A debugger cuts turns short, at breakpoints and for single steps; a turn that was cut goes on with what
is left of it, so that looking does not change what is looked at.
"""

from array import array
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


class Turns:
    """Turns in a row, nine bytes each: a guest that polls takes tens of thousands in a second."""

    __slots__ = ("_budgets", "_executed", "_vcpus")

    def __init__(self) -> None:
        self._vcpus: Final = array("B")
        self._budgets: Final = array("I")
        self._executed: Final = array("I")

    def append(self, turn: Turn) -> None:
        self._vcpus.append(turn.vcpu)
        self._budgets.append(turn.budget.instructions or 0)
        self._executed.append(turn.executed)

    def truncate(self, length: int) -> None:
        """Forgets all but the first so many."""
        for column in (self._vcpus, self._budgets, self._executed):
            del column[length:]

    def __len__(self) -> int:
        return len(self._vcpus)

    def __getitem__(self, index: int) -> Turn:
        return Turn(self._vcpus[index], Budget(instructions=self._budgets[index]), self._executed[index])

    def __setitem__(self, index: int, turn: Turn) -> None:
        self._vcpus[index] = turn.vcpu
        self._budgets[index] = turn.budget.instructions or 0
        self._executed[index] = turn.executed

    def last_of(self, vcpu: int, end: int) -> int | None:
        """The last of the first `end` turns in which `vcpu` has retired something."""
        for index in range(end - 1, -1, -1):
            if self._vcpus[index] == vcpu and self._executed[index]:
                return index
        return None

    def turn_of(self, vcpu: int, retired: int) -> tuple[int, int] | None:
        """The turn in which `vcpu` retires an instruction after so many, and how many it has retired in that turn before."""
        for index, (of, executed) in enumerate(zip(self._vcpus, self._executed, strict=True)):
            if of == vcpu:
                if retired < executed:
                    return index, retired
                retired -= executed
        return None


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
        self.turns: Final = Turns()
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

    def happen(self, act: Callable[["Machine"], Awaitable[None]], after: int) -> None:
        """Something came from outside now, `after` so many others. What had come then is forgotten: the future is another."""
        if not self.kept:
            return
        if self.is_past:
            self._forget_future()
        del self.happenings[after:]
        self.happenings.append(Happening(self.now, act))

    def due(self, index: int) -> Happening | None:
        """The happening of that number, if its moment is now."""
        if index < len(self.happenings) and self.happenings[index].moment == self.now:
            return self.happenings[index]
        return None

    def before(self, vcpu: int) -> Moment | None:
        """The moment before the instruction that `vcpu` has retired last; None if it has retired none."""
        if self._current is not None and self._current.vcpu == vcpu and self._executed:
            return Moment(self._turns_over, self._executed - 1)
        index = self.turns.last_of(vcpu, self._turns_over)
        return None if index is None else Moment(index, self.turns[index].executed - 1)

    def moment_of(self, vcpu: int, retired: int) -> Moment | None:
        """The moment at which `vcpu` had retired so many instructions, before it retired the next; None if it never was."""
        found = self.turns.turn_of(vcpu, retired)
        return None if found is None else Moment(*found)

    # Being a scheduler.

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Decision:
        """See `kev.machine.schedule.Scheduler`."""
        turn = self._current
        if turn is None or turn.vcpu not in runnable:
            self._finish_turn()
            turn = self._current = self._next_turn(runnable)
        if turn.budget.instructions is None:
            return Decision(turn.vcpu, Budget(instructions=1) if turn.vcpu == self.stepping else turn.budget)
        return Decision(turn.vcpu, Budget(instructions=self._until_cut(turn)))

    def cut(self, rest: Decision) -> None:
        """Nothing: `note` is told, and knows more."""

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
            self._store(cut)
        if cut.executed:
            self._finish_turn()
        else:
            self._current = None
            self.turns.truncate(self._turns_over)

    def note(self, retired: int, *, over: bool) -> None:
        """The turn that `next` has decided on last has retired so many more instructions. `over`: it does not go on."""
        turn = self._current
        assert turn is not None
        self._executed += retired
        if self._executed > turn.executed:
            turn.executed = self._executed
            self._store(turn)
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

    def _store(self, turn: Turn) -> None:
        """The current turn has changed."""
        if self.kept:
            self.turns[self._turns_over] = turn

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
        if not self.happenings:
            return ()
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
        current = self._current
        if current is not None:
            current.executed = self._executed
            self._store(current)
        self.turns.truncate(self._turns_over + (current is not None))
        self._postponed = None
