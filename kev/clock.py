"""Guest time: one clock and one queue of timers that every device shares, so that all of them agree.

Time is in nanoseconds since the machine was switched on. The time-stamp counter and the local APIC's bus both run at 1 GHz,
so a TSC tick is a nanosecond.
"""

import heapq
import time
from collections.abc import Callable
from typing import Final, Protocol


class Clock(Protocol):
    def now(self) -> int:
        """Nanoseconds since the machine was switched on; never goes back."""


class WallClock:
    """Follows the host's monotonic clock."""

    __slots__ = ("_start", "_stopped")

    def __init__(self) -> None:
        self._start = time.perf_counter_ns()
        self._stopped: int | None = None

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


class VirtualClock:
    """Derived from the instructions executed: a nanosecond each.

    It is advanced at the end of every slice; `in_slice` says how many instructions the slice that is running has executed so far.
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


_CANCELLED_LIMIT: Final = 256
"""Cancelled timers that may lie in the queue until their deadline."""


class Timer:
    """A callback that waits for its deadline; `TimerQueue.cancel` takes it back."""

    __slots__ = ("callback", "cancelled", "deadline")

    def __init__(self, deadline: int, callback: Callable[[], None]) -> None:
        self.deadline: Final = deadline
        self.callback: Final = callback
        self.cancelled = False


class TimerQueue:
    """Callbacks by deadline. Timers of the same deadline run in the order they were set."""

    __slots__ = ("_cancelled", "_clock", "_heap", "_sequence", "on_earlier")

    def __init__(self, clock: Clock) -> None:
        self.on_earlier: Callable[[int], None] | None = None
        """Told of a deadline that is earlier than all others."""
        self._clock = clock
        self._heap: list[tuple[int, int, Timer]] = []
        self._sequence = 0
        self._cancelled = 0

    def at(self, deadline: int, callback: Callable[[], None]) -> Timer:
        """Runs `callback` at the first `run_due` at or after `deadline` (nanoseconds)."""
        timer = Timer(deadline, callback)
        if self.on_earlier is not None:
            earliest = self.next_deadline()
            if earliest is None or deadline < earliest:
                self.on_earlier(deadline)
        self._sequence += 1
        heapq.heappush(self._heap, (deadline, self._sequence, timer))
        return timer

    def cancel(self, timer: Timer) -> None:
        timer.cancelled = True
        self._cancelled += 1
        if self._cancelled > _CANCELLED_LIMIT:
            self._forget_cancelled()

    def _forget_cancelled(self) -> None:
        """A guest that sets its timer further and further ahead must not fill the heap with what it no longer waits for."""
        self._heap = [entry for entry in self._heap if not entry[2].cancelled]
        heapq.heapify(self._heap)
        self._cancelled = 0

    def next_deadline(self) -> int | None:
        """When the next timer is due, or None if none is set."""
        heap = self._heap
        while heap and heap[0][2].cancelled:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def run_due(self) -> bool:
        """Runs every timer whose deadline has come; says whether there was one."""
        ran = False
        while (deadline := self.next_deadline()) is not None and deadline <= self._clock.now():
            heapq.heappop(self._heap)[2].callback()
            ran = True
        return ran
