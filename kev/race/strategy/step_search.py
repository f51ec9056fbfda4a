"""Every schedule of runs in which every step is a choice.

Every run begins with a prefix that is given and goes on by itself, without preemptions; wherever another vCPU could have been
chosen, that choice becomes the prefix of a later run.

What runs show twice is left out, as far as the accesses of steps are known. With a bound, by the digest of what every vCPU has
seen: a state that was reached before, with as few preemptions or fewer, is not explored again (as in CHESS, OSDI 2008). Sleep sets
would not be sound there: the run they rely on may need more preemptions (K. Coons, M. Musuvathi, K. McKinley: "Bounded
Partial-Order Reduction", OOPSLA 2013). Without a bound, by sleep sets (P. Godefroid, 1996): every interleaving is run to its end
once.
"""

from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, TypeAlias

import attrs

from kev.engine.base import Budget
from kev.machine.schedule import ANYTHING, Decision, Scheduler
from kev.race.interleaving import Interleaving
from kev.race.outcome import Outcome
from kev.race.schedule import Schedule
from kev.race.strategy.base import STEPS, Redundant

_Sleep: TypeAlias = dict[int, int]
"""vCPUs whose next step needs no exploring now, with the accesses of that step."""


@attrs.define(slots=True)
class _Choice:
    """A place where runs part."""

    asleep: _Sleep
    tried: _Sleep = attrs.Factory(dict)
    """The vCPUs that were chosen here, with the accesses of their steps."""


@attrs.frozen(slots=True)
class _Branch:
    """A run that is still to be made: it follows `order`, whose last step is a vCPU that was not chosen at `choice` so far."""

    order: bytes
    choice: _Choice
    preemptions: int
    seen: Interleaving
    """What was seen before the last of its steps, with a bound."""


class StepSearch:
    """The runs that are still to be made, where every step is a choice."""

    def __init__(self, bound: int | None) -> None:
        self.bound: Final = bound
        self.visited: Final[set[int]] = set()
        """Digests of the states from which everything is explored, or is going to be."""
        first = _Branch(b"", _Choice({}), 0, Interleaving())
        self._branches: Final = [deque((first,)), *(deque[_Branch]() for _ in range(bound or 0))]

    def __len__(self) -> int:
        return sum(map(len, self._branches))

    def add(self, branch: _Branch) -> None:
        if self.bound is None:
            self._branches[0].append(branch)
        elif branch.preemptions <= self.bound:
            self._branches[branch.preemptions].append(branch)

    def scheduler(self) -> Scheduler | None:
        """With a bound, of the oldest branch with the fewest preemptions; else of the youngest, so that few wait at a time."""
        for branches in self._branches:
            if branches:
                return StepScheduler(branches.pop() if self.bound is None else branches.popleft(), self)
        return None

    def learn(self, outcome: Outcome) -> None:
        """Nothing that its schedulers have not told already."""


class StepScheduler:
    """Follows a branch, then goes on without preemptions and adds what else could have been chosen to the search."""

    def __init__(self, branch: _Branch, search: StepSearch) -> None:
        self._search: Final = search
        self._known: Final = list(reversed(Schedule.from_order(branch.order[:-1]).segments))
        """Turns before the branch's last step, the last first: another run has taken them."""
        self._branching: int | None = branch.order[-1] if branch.order else None
        """The branch's last step, until it is taken."""
        self._order: Final = bytearray(branch.order[:-1])
        self._choice: _Choice | None = branch.choice
        """Where the step just taken was chosen."""
        self._asleep: _Sleep = {}
        self._seen: Final = branch.seen.copy()
        self._preemptions: Final = branch.preemptions
        self._chose = False

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Decision:
        if self._known:
            return _turn(*self._known.pop())
        if self._chose:
            self._learn(accesses)
        self._chose = True
        vcpu, self._branching = self._branching, None
        if vcpu is None:
            vcpu = self._choose(runnable)
        self._order.append(vcpu)
        return STEPS[vcpu]

    def _learn(self, accesses: int) -> None:
        """Of the step just taken."""
        vcpu = self._order[-1]
        if self._search.bound is not None:
            self._seen.add(vcpu, accesses)
        elif self._choice is not None:
            asleep = self._choice.asleep | self._choice.tried
            self._choice.tried[vcpu] = accesses
            self._asleep = {other: touched for other, touched in asleep.items() if other != vcpu and not touched & accesses}

    def _choose(self, runnable: Sequence[int]) -> int:
        current = self._order[-1] if self._order else -1
        awake = self._awake(runnable, current)
        chosen = current if current in awake else awake[0]
        if len(awake) > 1:
            self._add_others(awake, chosen, current in runnable)
        return chosen

    def _awake(self, runnable: Sequence[int], current: int) -> Sequence[int]:
        """Those of the runnable whose choice may show something new."""
        if self._search.bound is None:
            awake = [vcpu for vcpu in runnable if vcpu not in self._asleep]
            if not awake:
                raise Redundant
            self._choice = _Choice(self._asleep)
            return awake
        state = self._seen.digest(current)
        if state in self._search.visited:
            raise Redundant
        self._search.visited.add(state)
        return runnable

    def _add_others(self, awake: Sequence[int], chosen: int, preempting: bool) -> None:
        choice = self._choice or _Choice({})
        order = bytes(self._order)
        seen = self._seen if self._search.bound is None else self._seen.copy()
        for vcpu in awake:
            if vcpu != chosen:
                self._search.add(_Branch(order + bytes((vcpu,)), choice, self._preemptions + preempting, seen))


@lru_cache(1 << 12)
def _turn(vcpu: int, steps: int) -> Decision:
    return Decision(vcpu, Budget(instructions=steps))
