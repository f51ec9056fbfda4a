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
from typing import Final, TypeAlias

import attrs

from kev.machine.schedule import ANYTHING, Decision, Scheduler
from kev.race.interleaving import Interleaving
from kev.race.outcome import Outcome
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


class StepSearch:
    """The runs that are still to be made, where every step is a choice."""

    def __init__(self, bound: int | None) -> None:
        self.bound: Final = bound
        self.visited: Final[set[int]] = set()
        """Digests of the states from which everything is explored, or is going to be."""
        self._branches: Final = [deque((_Branch(b"", _Choice({}), 0),)), *(deque[_Branch]() for _ in range(bound or 0))]

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
        self._prefix: Final = branch.order
        self._order: Final = bytearray()
        self._choice: _Choice | None = branch.choice
        """Where the step just taken was chosen."""
        self._asleep: _Sleep = {}
        self._seen: Final = Interleaving()
        self._preemptions: Final = branch.preemptions

    def next(self, runnable: Sequence[int], executed: int = 0, accesses: int = ANYTHING) -> Decision:
        if self._order:
            self._learn(accesses)
        step = len(self._order)
        vcpu = self._prefix[step] if step < len(self._prefix) else self._choose(runnable)
        self._order.append(vcpu)
        return STEPS[vcpu]

    def _learn(self, accesses: int) -> None:
        """Of the step just taken."""
        vcpu = self._order[-1]
        if self._search.bound is not None:
            self._seen.extend((vcpu,), (accesses,))
        elif len(self._order) >= len(self._prefix) and self._choice is not None:
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
        for vcpu in awake:
            if vcpu != chosen:
                self._search.add(_Branch(order + bytes((vcpu,)), choice, self._preemptions + preempting))
