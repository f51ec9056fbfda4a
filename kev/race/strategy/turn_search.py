"""Every schedule of guests, in which there are too many steps to choose each, and nobody knows what they access.

A run follows a prefix and then lets every vCPU go on until it has to wait, or spins. Afterwards it is known how long its turns
were: at each step of each of them another vCPU could have come in, which is a prefix for a later run with one preemption more.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final, TypeAlias

from kev.engine.base import Budget
from kev.machine.schedule import ANYTHING, Decision, Scheduler
from kev.race.outcome import Outcome, Turn
from kev.race.strategy.base import UNLIMITED, Redundant
from kev.race.strategy.free import UnpreemptedScheduler

_Prefix: TypeAlias = tuple[tuple[int, int], ...]
"""Turns, as (vCPU, steps). Several in a row may be of the same vCPU: where turns end, who spins may change."""


class TurnScheduler:
    """Follows a prefix, whose last vCPU goes on as long as it can; so do those who come after it."""

    def __init__(self, prefix: _Prefix) -> None:
        self._turns: Final = list(reversed(prefix))
        self.branches = False
        """The turn that is being taken is the last of the prefix: what distinguishes this run from others."""
        self._rest: Final = UnpreemptedScheduler(prefix[-1][0] if prefix else -1)

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Decision:
        self.branches = len(self._turns) == 1
        if not self._turns:
            return self._rest.next(runnable)
        vcpu, steps = self._turns.pop()
        if vcpu not in runnable:
            raise Redundant
        return Decision(vcpu, Budget(instructions=steps if self._turns else UNLIMITED))


class TurnSearch:
    """The runs that are still to be made."""

    def __init__(self, bound: int | None) -> None:
        self._bound: Final = bound
        self._waiting: Final[list[deque[Iterator[_Prefix]]]] = [deque((iter(((),)),))]
        """By their number of preemptions."""
        self._prefix: _Prefix = ()
        self._preemptions = 0

    def __len__(self) -> int:
        return sum(map(len, self._waiting))

    def scheduler(self) -> Scheduler | None:
        """Of the prefix with the fewest preemptions that was found first."""
        for preemptions, waiting in enumerate(self._waiting):
            while waiting:
                prefix = next(waiting[0], None)
                if prefix is not None:
                    self._prefix, self._preemptions = prefix, preemptions
                    return TurnScheduler(prefix)
                waiting.popleft()
        return None

    def learn(self, outcome: Outcome) -> None:
        """Where others could have come in, in the run that was made last."""
        fixed = max(sum(steps for _, steps in self._prefix), outcome.begins)
        self._add(self._preemptions, _other_successors(outcome.turns, fixed))
        if self._bound is None or self._preemptions < self._bound:
            self._add(self._preemptions + 1, _preemptions(outcome.turns, fixed))

    def _add(self, preemptions: int, prefixes: Iterator[_Prefix]) -> None:
        while len(self._waiting) <= preemptions:
            self._waiting.append(deque())
        self._waiting[preemptions].append(prefixes)


def _preemptions(turns: Sequence[Turn], fixed: int) -> Iterator[_Prefix]:
    """Somebody else behind each step after the first `fixed`, where the vCPU could have gone on."""
    for index, begin in _beginnings(turns):
        turn = turns[index]
        goes_on = index + 1 < len(turns) and turns[index + 1].vcpu == turn.vcpu and not turn.paused
        for steps in range(max(fixed - begin, 1), turn.steps + goes_on):
            for other in turn.runnable if steps < turn.steps else turns[index + 1].offered:
                if other != turn.vcpu:
                    yield (*_prefix(turns[:index]), (turn.vcpu, steps), (other, 1))


def _other_successors(turns: Sequence[Turn], fixed: int) -> Iterator[_Prefix]:
    """Where a vCPU could not go on after the first `fixed` steps, or had executed PAUSE, somebody else than the one that followed.

    Where that one has come to the same state again, its steps may as well be left out: others have their turn behind it.
    """
    for index, begin in _beginnings(turns):
        free = index == 0 or turns[index - 1].vcpu != turns[index].vcpu or turns[index - 1].paused
        if begin >= fixed and free and not turns[index].spun:
            for other in turns[index].offered:
                if other != turns[index].vcpu:
                    yield (*_prefix(turns[:index]), (other, 1))


def _beginnings(turns: Sequence[Turn]) -> Iterator[tuple[int, int]]:
    """The index of each turn, and the step it began at."""
    return enumerate(accumulate((turn.steps for turn in turns[:-1]), initial=0))


def _prefix(turns: Sequence[Turn]) -> _Prefix:
    return tuple((turn.vcpu, turn.steps) for turn in turns)
