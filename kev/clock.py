"""Guest time: one clock and one queue of timers that every device shares, so that all of them agree.

Time is in nanoseconds since the machine was switched on. The time-stamp counter and the local APIC's bus both run at 1 GHz,
so a TSC tick is a nanosecond.
"""

import heapq
import time
from collections.abc import Callable
from typing import Final, Protocol

from kev.state import TIME, Fields, Kind, State, StateError, optional
from kev.subscribers import Subscribers

_CLOCK: Final = Fields({}, now=TIME)


class Clock(Protocol):
    def now(self) -> int:
        """Nanoseconds since the machine was switched on; never goes back."""


class WallClock:
    """Follows the host's monotonic clock."""

    __slots__ = ("_start", "_stopped", "moved")

    def __init__(self) -> None:
        self._start = time.perf_counter_ns()
        self._stopped: int | None = None
        self.moved: Final[Subscribers[[]]] = Subscribers()
        """Are told when `offset` is another one than before."""

    @property
    def offset(self) -> int:
        """What is to be added to `time.perf_counter_ns()`, while the clock goes."""
        return -self._start

    def now(self) -> int:
        stopped = self._stopped
        return (time.perf_counter_ns() if stopped is None else stopped) - self._start

    def stop(self) -> None:
        """No time passes for the machine until `go_on`."""
        if self._stopped is None:
            self._stopped = time.perf_counter_ns()

    def go_on(self) -> None:
        if self._stopped is not None:
            self._start += time.perf_counter_ns() - self._stopped
            self._stopped = None
            self.moved()

    def save(self) -> State:
        return _CLOCK.save(self, now=self.now())

    def load(self, state: State) -> None:
        """Time goes on from when it was saved; StateError if that is no time."""
        now = _CLOCK.load(self, "clock", state)["now"]
        self._start = (time.perf_counter_ns() if self._stopped is None else self._stopped) - now
        self.moved()


class VirtualClock:
    """Derived from the instructions executed, a nanosecond each, and from what else is said to take time.

    It is advanced at the end of every slice, and by exits; `in_slice` says how many instructions the slice that is running has
    executed so far.
    """

    __slots__ = ("_now", "in_slice")

    def __init__(self, in_slice: Callable[[], int] = lambda: 0) -> None:
        self._now = 0
        self.in_slice = in_slice

    def now(self) -> int:
        return self._now + self.in_slice()

    def stop(self) -> None:
        """Nothing: no time passes while no instruction is executed."""

    def go_on(self) -> None:
        """Nothing."""

    def advance(self, nanoseconds: int) -> None:
        self._now += nanoseconds

    def advance_to(self, deadline: int) -> None:
        """Skips to `deadline`, if that is in the future: what an idle machine does."""
        self._now = max(self._now, deadline)

    def save(self) -> State:
        return _CLOCK.save(self, now=self.now())

    def load(self, state: State) -> None:
        """Time goes on from when it was saved; StateError if that is no time."""
        self._now = _CLOCK.load(self, "clock", state)["now"]


_CANCELLED_LIMIT: Final = 256
"""Cancelled timers that may lie in the queue until their deadline."""


class Timer:
    """A callback that waits for its deadline; `TimerQueue.cancel` takes it back."""

    __slots__ = ("callback", "cancelled", "deadline", "is_idle", "order")

    def __init__(self, deadline: int, order: int, callback: Callable[[], None], is_idle: Callable[[], bool] | None = None) -> None:
        self.deadline: Final = deadline
        self.order: Final = order
        """Of timers with the same deadline, the one with the lowest number runs first."""
        self.callback: Final = callback
        self.is_idle: Final = is_idle
        """Says whether `callback` would do nothing if it ran now; None where it always does something."""
        self.cancelled = False


TIMER: Final[Kind] = optional(
    Kind(
        "a deadline and the number of a timer, in a list",
        lambda value: type(value) is list and len(value) == 2 and all(map(TIME.accepts, value)),
        lambda timer: [timer.deadline, timer.order],
        tuple,
    )
)
"""A field that is a timer or None; loaded, it is what `TimerQueue.restore` takes."""


class TimerQueue:
    """Callbacks by deadline. Timers of the same deadline run in the order they were set.

    Whoever has set a timer saves it, and sets it again when it is loaded.
    """

    __slots__ = ("_cancelled", "_clock", "_heap", "_sequence", "earlier")

    _FIELDS: Final = Fields({"_sequence": TIME})

    def __init__(self, clock: Clock) -> None:
        self.earlier: Final[Subscribers[[int]]] = Subscribers()
        """Are told of a deadline that is earlier than all others."""
        self._clock = clock
        self._heap: list[tuple[int, int, Timer]] = []
        self._sequence = 0
        self._cancelled = 0

    def at(self, deadline: int, callback: Callable[[], None], is_idle: Callable[[], bool] | None = None) -> Timer:
        """Runs `callback` at the first `run_due` at or after `deadline` (nanoseconds). `is_idle`: see `Timer`."""
        self._sequence = order = self._sequence + 1
        return self._set(Timer(deadline, order, callback, is_idle))

    def _set(self, timer: Timer) -> Timer:
        if self.earlier.callbacks:
            earliest = self.next_deadline()
            if earliest is None or timer.deadline < earliest:
                self.earlier(timer.deadline)
        heapq.heappush(self._heap, (timer.deadline, timer.order, timer))
        return timer

    def cancel(self, timer: Timer) -> None:
        timer.cancelled = True
        self._cancelled += 1
        if self._cancelled > _CANCELLED_LIMIT:
            self._forget_cancelled()

    def save(self) -> State:
        return self._FIELDS.save(self)

    def load(self, state: State) -> None:
        """Forgets all timers: `restore` sets those that were saved."""
        self._FIELDS.load(self, "timers", state)
        self._heap.clear()
        self._cancelled = 0

    def restore(
        self, saved: tuple[int, int] | None, callback: Callable[[], None], is_idle: Callable[[], bool] | None = None
    ) -> Timer | None:
        """Sets a timer that was saved: see `TIMER`. It keeps its place among those of the same deadline.

        StateError if it was set after the queue was saved, or is there already.
        """
        if saved is None:
            return None
        deadline, order = saved
        self._forget_cancelled()
        if order > self._sequence or any(order == other for _, other, _ in self._heap):
            raise StateError("timers", "timer", order, f"one of the {self._sequence} that were set, once each")
        return self._set(Timer(deadline, order, callback, is_idle))

    def _forget_cancelled(self) -> None:
        """A guest that sets its timer further and further ahead must not fill the heap with what it no longer waits for."""
        self._heap = [entry for entry in self._heap if not entry[2].cancelled]
        heapq.heapify(self._heap)
        self._cancelled = 0

    @property
    def is_idle(self) -> bool:
        """No timer is set that would do anything, as everything is now."""
        return all(timer.cancelled or (timer.is_idle is not None and timer.is_idle()) for _, _, timer in self._heap)

    def next_deadline(self) -> int | None:
        """When the next timer is due, or None if none is set."""
        heap = self._heap
        while heap and heap[0][2].cancelled:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def run_due(self) -> bool:
        """Runs every timer whose deadline has come; says whether there was one.

        What comes due meanwhile waits for the next time: a guest may let timers be due faster than they can be run.
        """
        ran = False
        now = self._clock.now()
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            heapq.heappop(self._heap)[2].callback()
            ran = True
        return ran
