"""Explores with many workers at once. What is found does not depend on how many there are, and on how quick each is."""

import time
from typing import Final, NamedTuple

import attrs

from kev.race.explore import Exploration, Progress, explore
from kev.race.strategy.base import Strategy
from kev.race.subject import Subject
from kev.spec import values as spec_values
from kev.work.base import Place, Pool
from kev.work.here import Here
from kev.work.stopping import Stopped

_SMALLEST_SHARE: Final = 1
"""Runs that a worker is given at first. Shares grow while they take less than a place's `share_seconds`."""
_MOST_GROWTH: Final = 8
"""How many times as large as one share the next may be."""
_SHORTEST: Final = 1e-3  # seconds
_LAST_SHARES: Final = 2
"""What is left is given out in no fewer shares than so many for each worker, so that all are done at about the same time."""

_SMALLEST_PART: Final = 8
"""Nor in parts of a share that are smaller than that: handing them out would cost more than is won by it."""


class _Share(NamedTuple):
    """Runs that a worker makes one after the other."""

    subject: Subject
    strategy: Strategy
    first: int
    runs: int
    keep_going: bool


def limits(runs: int | None, seconds: float | None) -> tuple[int | None, float | None]:
    """The same, as numbers that are reached at some time. SpecError, naming the keyword, for what is none."""
    return (
        None if runs is None else spec_values.positive("runs", runs),
        None if seconds is None else spec_values.seconds("seconds", seconds),
    )


def explore_shared(
    subject: Subject,
    strategy: Strategy,
    runs: int | None,
    place: Place,
    progress: Progress | None = None,
    *,
    seconds: float | None = None,
    keep_going: bool = False,
) -> Exploration:
    """As `explore`, by the workers of `place` where a strategy's runs do not depend on each other.

    A failure counts when all runs before it are done: so the one that is found is that with the lowest number, whoever was quicker.
    Runs behind it are not begun any more. WorkError; SpecError as from `limits`.
    """
    runs, seconds = limits(runs, seconds)
    if isinstance(place, Here) or not strategy.sampled:
        return explore(subject, strategy, runs, progress=progress, seconds=seconds, keep_going=keep_going)
    total = Exploration(keep_going=keep_going)
    began = time.perf_counter()
    sharing = _Sharing(subject, strategy, runs, place, total, seconds, began)
    try:
        with place.pool(_explore_share) as pool:
            while sharing.give(pool):
                sharing.take(pool)
                if progress is not None:
                    progress(total)
    except Stopped as stopped:
        sharing.conclude()
        total.stopped = stopped.signal
    total.strategy = total.strategy or strategy.describe()
    total.seconds = time.perf_counter() - began
    return total


@attrs.define(slots=True)
class _Sharing:
    """Shares are numbered in the order of their runs, and added up in that order."""

    subject: Subject
    strategy: Strategy
    runs: int | None
    place: Place
    total: Exploration
    seconds: float | None
    began: float
    """By the clock of `time.perf_counter`."""
    _waiting: dict[int, Exploration] = attrs.field(init=False, factory=dict)
    """Shares that are done, but not those before them."""
    _begun: int = attrs.field(init=False, default=0)
    """Runs that were given out."""
    _given: int = attrs.field(init=False, default=0)
    _added: int = attrs.field(init=False, default=0)
    _share: int = attrs.field(init=False, default=_SMALLEST_SHARE)
    _made: int = attrs.field(init=False, default=0)
    """Runs that are over."""
    _worked: float = attrs.field(init=False, default=0.0)
    """The seconds that workers took for them, all together."""
    _is_enough: bool = attrs.field(init=False, default=False)
    """One share has come to an end of the whole: nothing behind it is wanted."""

    def give(self, pool: Pool[_Share, Exploration]) -> bool:
        """Whether there is something to wait for."""
        while not self.total.over and pool.has_room and (count := self._next_share):
            pool.give(self._given, _Share(self.subject, self.strategy, self._begun, count, self.total.keep_going))
            self._begun, self._given = self._begun + count, self._given + 1
        return not self.total.over and pool.is_busy

    def take(self, pool: Pool[_Share, Exploration]) -> None:
        for number, part in pool.take():
            self._waiting[number] = part
            self._is_enough = self._is_enough or part.over
            made = part.runs + part.redundant
            self._made, self._worked = self._made + made, self._worked + part.seconds
            if made == self._share:
                growth = self.place.share_seconds / max(part.seconds, _SHORTEST)
                self._share = max(self._share, int(self._share * min(growth, _MOST_GROWTH)))
        while self._added in self._waiting and not self.total.over:
            self.total.add(self._waiting.pop(self._added))
            self._added += 1
        self.total.seconds = time.perf_counter() - self.began

    def conclude(self) -> None:
        """Adds what is done, although not all is that comes before."""
        for number in sorted(self._waiting):
            self.total.add(self._waiting[number])

    @property
    def _next_share(self) -> int:
        """How many runs the next share has; 0 if there is none."""
        left = None if self.runs is None else self.runs - self._begun
        if self.seconds is not None:
            time_left = self.seconds - (time.perf_counter() - self.began)
            if time_left <= 0:
                return 0
            in_time = self._runs_within(time_left)
            left = in_time if left is None else min(left, in_time)
        if self._is_enough:
            return 0
        return self._share if left is None else size_of_share(self._share, left, self.place.size)

    def _runs_within(self, seconds: float) -> int:
        """How many more runs are over by then, if they take what those before them took; at least the smallest part of a share."""
        able = self.place.size * seconds * self._made / max(self._worked, _SHORTEST)
        return max(int(able) - (self._begun - self._made), self._share // _SMALLEST_PART, 1)


def size_of_share(share: int, left: int, workers: int) -> int:
    """How many runs are given out next of those that are left, where a share of `share` runs is worth it."""
    return min(share, left, max(-(-left // (_LAST_SHARES * workers)), share // _SMALLEST_PART))


def _explore_share(share: _Share) -> Exploration:
    return explore(share.subject, share.strategy, share.runs, first=share.first, keep_going=share.keep_going)
