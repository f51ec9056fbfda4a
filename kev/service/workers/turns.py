"""Whose machine has the processors: so many at once as there are of them, in turns.

A machine whose turn it is not waits asleep, so that it answers calls as soon as they come, however many machines compute: among as
many processes as there are machines, the operating system would let it wait for all others first. And what has just begun, which
does much in little time, is over sooner if few do so side by side and share the processors' caches.

A worker is believed nothing: one that keeps its turn only shares the processors with those whose turn it is, by the operating
system's own rules.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from kev.service.workers.framing import FrameKind
from kev.work.processors import processors

_LONGEST: Final = 0.02
"""Seconds that a turn lasts at least, if others wait."""
_PATIENCE: Final = 3.0
"""Seconds that a machine may take to give its turn back. Then the next one begins beside it."""
_PATIENCE_OF_MAKING: Final = 0.25
"""The same of one that is made: what it is made from may come from far away, and whoever waits for that computes nothing."""
_SELDOMEST: Final = 0.05
"""Seconds within which a machine that computes gets a turn, however many are made."""
_BETWEEN_LOOKS: Final = 0.005


class Turn:
    """One machine's part of the time. It has a turn, or waits for one, or wants none."""

    def __init__(self, turns: "Turns") -> None:
        self._turns: Final = turns
        self._tell: Callable[[FrameKind], None] | None = None
        self.since: float | None = None
        """When it got its turn, if it has one."""
        self.asked: float | None = None
        """When it was asked to give that back."""

    def tell_by(self, tell: Callable[[FrameKind], None]) -> None:
        """How the worker is told of TURN and YIELD, now that it can be. It believes that it has its turn."""
        self._tell = tell
        if self.since is None or self.asked is not None:
            tell(FrameKind.YIELD)

    @property
    def is_overdue(self) -> bool:
        """It was asked for long enough ago to be given up."""
        patience = _PATIENCE_OF_MAKING if self._tell is None else _PATIENCE
        return self.asked is not None and trio.current_time() - self.asked > patience

    def want(self) -> None:
        """The worker has something to compute."""
        if self.since is not None:
            self._say(FrameKind.TURN)
        else:
            self._turns.add(self)

    def end(self) -> None:
        """It has no turn any more and wants none. It does not matter who says so, and how often."""
        self._turns.remove(self)

    def begin(self, now: float) -> None:
        self.since, self.asked = now, None
        self._say(FrameKind.TURN)

    def ask(self, now: float) -> None:
        self.asked = now
        self._say(FrameKind.YIELD)

    def _say(self, kind: FrameKind) -> None:
        if self._tell is not None:
            self._tell(kind)


class Turns:
    """Of one service."""

    def __init__(self, places: int | None = None) -> None:
        """`places`: how many machines compute at once; as many as there are processors, if nothing is said."""
        self._places: Final = processors() if places is None else places
        self._having: Final[list[Turn]] = []
        """The one that has had its turn longest is the first."""
        self._waiting: Final[deque[Turn]] = deque()
        self._opening: Final[dict[Turn, trio.Event]] = {}
        """Of machines that are about to be made: they go first, mostly."""
        self._last = -math.inf
        """When one began its turn that computes."""
        self._news = trio.Event()

    async def take(self) -> Turn:
        """Returns when a machine that is about to be made has its turn. To be ended."""
        turn = Turn(self)
        self._opening[turn] = trio.Event()
        self._let_begin()
        try:
            await self._opening[turn].wait()
        except trio.Cancelled:
            del self._opening[turn]
            self.remove(turn)
            raise
        del self._opening[turn]
        return turn

    async def keep(self) -> None:
        """Ends the turns that have lasted long enough, if others wait."""
        while True:
            self._news = trio.Event()
            if not self._most_wanted:
                await self._news.wait()
            self._look(trio.current_time())
            await trio.sleep_until(self._next_look(trio.current_time()))

    def _next_look(self, now: float) -> float:
        """Nothing is to be done before: whoever gets a turn meanwhile has it for longer."""
        ends = [turn.since + _LONGEST for turn in self._having if turn.since is not None and turn.asked is None]
        return max(min(ends, default=now), now + _BETWEEN_LOOKS)

    @property
    def _most_wanted(self) -> int:
        return len(self._waiting) + sum(not event.is_set() for event in self._opening.values())

    def _look(self, now: float) -> None:
        for turn in [turn for turn in self._having if turn.is_overdue]:
            self.remove(turn)
        asked = sum(turn.asked is not None for turn in self._having)
        for turn in self._having:
            if asked >= self._most_wanted:
                break
            if turn.asked is None and turn.since is not None and now - turn.since >= _LONGEST:
                turn.ask(now)
                asked += 1

    def add(self, turn: Turn) -> None:
        if turn not in self._waiting:
            self._waiting.append(turn)
            self._let_begin()

    def remove(self, turn: Turn) -> None:
        if turn in self._waiting:
            self._waiting.remove(turn)
        if turn.since is not None:
            self._having.remove(turn)
            turn.since = turn.asked = None
        self._let_begin()

    def _let_begin(self) -> None:
        now = trio.current_time()
        while len(self._having) < self._places and (turn := self._next(now)) is not None:
            self._having.append(turn)
            turn.begin(now)
        if self._most_wanted:
            self._news.set()

    def _next(self, now: float) -> Turn | None:
        if not self._waiting or now - self._last < _SELDOMEST:
            for turn, event in self._opening.items():
                if not event.is_set():
                    event.set()
                    return turn
        if not self._waiting:
            return None
        self._last = now
        return self._waiting.popleft()
