"""Every schedule of runs in which every step is a choice.

Every run begins with a prefix that is given and goes on by itself, without preemptions; wherever another vCPU could have been
chosen, that choice becomes the prefix of a later run.

What runs show twice is left out, as far as the accesses of steps are known. With a bound, by the digest of what every vCPU has
seen: a state that was reached before, with as few preemptions or fewer, is not explored again (as in CHESS, OSDI 2008). Sleep sets
would not be sound there: the run they rely on may need more preemptions (K. Coons, M. Musuvathi, K. McKinley: "Bounded
Partial-Order Reduction", OOPSLA 2013). Without a bound, by sleep sets (P. Godefroid, 1996): every interleaving is run to its end
once.
"""

from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Final, TypeAlias

import attrs

from kev.machine.schedule import Scheduler
from kev.race.interleaving import VCPU_BITS, Interleaving
from kev.race.outcome import Outcome
from kev.race.strategy.base import Redundant, SteppedScheduler

_Sleep: TypeAlias = dict[int, int]
"""vCPUs whose next step needs no exploring now, with the accesses of that step."""


@attrs.define(slots=True)
class _Choice:
    """A place where runs part."""

    asleep: _Sleep
    tried: _Sleep = attrs.Factory(dict)
    """The vCPUs that were chosen here, with the accesses of their steps."""


_Branch: TypeAlias = tuple[bytes, int | None, _Choice, int, Interleaving]
"""A run that is still to be made: it follows an order, and then takes a step that no run has taken there.

That order; who takes that step, or None if everybody is to be considered; where it was not chosen so far; its preemptions; and
what was seen before that step, with a bound. There are ten to each run: they are plain.
"""


class StepSearch:
    """The runs that are still to be made, where every step is a choice."""

    def __init__(self, bound: int | None) -> None:
        self.bound: Final = bound
        self.visited: Final[set[int]] = set()
        """Digests of the states from which everything is explored, or is going to be."""
        first: _Branch = b"", None, _Choice({}), 0, Interleaving()
        self._branches: Final = [deque((first,)), *(deque[_Branch]() for _ in range(bound or 0))]

    def __len__(self) -> int:
        return sum(map(len, self._branches))

    def branches(self, preemptions: int) -> deque[_Branch] | None:
        """Those of so many preemptions, to be added to. None if that is beyond the bound."""
        if self.bound is None:
            return self._branches[0]
        return self._branches[preemptions] if preemptions <= self.bound else None

    def scheduler(self) -> Scheduler | None:
        """With a bound, of the oldest branch with the fewest preemptions; else of the youngest, so that few wait at a time."""
        for branches in self._branches:
            if branches:
                return Sleepers(branches.pop(), self) if self.bound is None else Visitor(branches.popleft(), self)
        return None

    def learn(self, outcome: Outcome) -> None:
        """Nothing that its schedulers have not told already."""


class StepScheduler(SteppedScheduler):
    """Follows a branch, then goes on without preemptions and adds what else could have been chosen to the search."""

    def __init__(self, branch: _Branch, search: StepSearch) -> None:
        self._search: Final = search
        order, self._branching, choice, self._preemptions, seen = branch
        self._known: Final = list(reversed(order))
        """Who takes steps that another run has taken, the last first."""
        self._order: Final = bytearray(order)
        self._choice: _Choice | None = choice
        """Where the step just taken was chosen."""
        self._chose = False
        self._seen: Interleaving = seen

    def step(self, runnable: Sequence[int], last: int) -> int:
        if self._known:
            return self._known.pop()
        if self._chose:
            self._learn(last >> VCPU_BITS)
            vcpu = self._choose(runnable)
        else:
            self._chose = True
            vcpu = self._choose(runnable) if self._branching is None else self._branching
        self._order.append(vcpu)
        return vcpu

    @abstractmethod
    def _learn(self, accesses: int) -> None:
        """Of the step just taken."""

    def _choose(self, runnable: Sequence[int]) -> int:
        current = self._order[-1] if self._order else -1
        awake = self._awake(runnable, current)
        chosen = current if current in awake else awake[0]
        if len(awake) > 1:
            self._add_others(awake, chosen, self._preemptions + (current in runnable))
        return chosen

    @abstractmethod
    def _awake(self, runnable: Sequence[int], current: int) -> Sequence[int]:
        """Those of the runnable whose choice may show something new. Redundant if there are none."""

    def _add_others(self, awake: Sequence[int], chosen: int, preemptions: int) -> None:
        branches = self._search.branches(preemptions)
        if branches is not None:
            choice, order, seen = self._choice or _Choice({}), bytes(self._order), self._seen_so_far()
            branches.extend([(order, vcpu, choice, preemptions, seen) for vcpu in awake if vcpu != chosen])

    @abstractmethod
    def _seen_so_far(self) -> Interleaving: ...


class Visitor(StepScheduler):
    """With a bound: a state is visited once."""

    def __init__(self, branch: _Branch, search: StepSearch) -> None:
        super().__init__(branch, search)
        self._seen = self._seen.copy()

    def _learn(self, accesses: int) -> None:
        self._seen.add(self._order[-1], accesses)

    def _awake(self, runnable: Sequence[int], current: int) -> Sequence[int]:
        state = self._seen.digest(current)
        if state in self._search.visited:
            raise Redundant
        self._search.visited.add(state)
        return runnable

    def _seen_so_far(self) -> Interleaving:
        return self._seen.copy()


class Sleepers(StepScheduler):
    """Without a bound: those sleep whose next step another run shows."""

    def __init__(self, branch: _Branch, search: StepSearch) -> None:
        super().__init__(branch, search)
        self._asleep: _Sleep = {}

    def _learn(self, accesses: int) -> None:
        if self._choice is not None:
            vcpu = self._order[-1]
            asleep = self._choice.asleep | self._choice.tried
            self._choice.tried[vcpu] = accesses
            self._asleep = {other: touched for other, touched in asleep.items() if other != vcpu and not touched & accesses}

    def _awake(self, runnable: Sequence[int], current: int) -> Sequence[int]:
        awake = [vcpu for vcpu in runnable if vcpu not in self._asleep]
        if not awake:
            raise Redundant
        self._choice = _Choice(self._asleep)
        return awake

    def _seen_so_far(self) -> Interleaving:
        return self._seen
