"""A source that is as slow as one wants: stands in for remote storage in experiments."""

import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import attrs

from kev.pager.source import AsynchronousSource, SynchronousSource


@attrs.frozen(slots=True)
class SourceDelay:
    """How slow a source is. All times in seconds."""

    latency: float
    """From a request to its first byte; requests do not wait for each other."""
    bytes_per_second: float | None = None
    """Of the link that all answers share; None for no limit."""
    jitter: float = 0.0
    """At most so much longer than `latency`, evenly distributed."""
    seed: int = 0
    """Of the jitter."""


class SleepClock(Protocol):
    """A clock, and how to wait for a moment by it."""

    def now(self) -> float:
        """In seconds."""

    def sleep_until(self, deadline: float) -> Awaitable[None]: ...


class TrioClock:
    """The clock of the trio run that a read happens in."""

    def now(self) -> float:
        import trio

        return trio.current_time()

    def sleep_until(self, deadline: float) -> Awaitable[None]:
        import trio

        return trio.sleep_until(deadline)


class _Link:
    """Says how long each answer takes, in the order of the requests."""

    def __init__(self, delay: SourceDelay) -> None:
        self._delay: Final = delay
        self._random: Final = random.Random(delay.seed)
        self._free = float("-inf")

    def arrival(self, now: float, length: int) -> float:
        """When the last of `length` bytes is there that were asked for `now`. The link carries one answer after the other."""
        delay = self._delay
        begin = now + delay.latency + self._random.uniform(0, delay.jitter)
        if delay.bytes_per_second is None:
            return begin
        self._free = max(begin, self._free) + length / delay.bytes_per_second
        return self._free


class SlowSource(AsynchronousSource):
    """The bytes of another source, later."""

    def __init__(self, inner: SynchronousSource, delay: SourceDelay, clock: SleepClock | None = None) -> None:
        super().__init__(BlockingSlowSource(inner, delay))
        self._inner: Final = inner
        self._link: Final = _Link(delay)
        self._clock: Final = clock or TrioClock()

    async def read_into(self, offset: int, buffer: memoryview, /) -> int:
        await self._clock.sleep_until(self._link.arrival(self._clock.now(), len(buffer)))
        return self._inner.read_into(offset, buffer)


class BlockingSlowSource:
    """The same for whoever cannot await: a read holds up the thread."""

    def __init__(self, inner: SynchronousSource, delay: SourceDelay, sleep: Callable[[float], object] = time.sleep) -> None:
        self.name: Final = inner.name
        self.size: Final = inner.size
        self._inner: Final = inner
        self._link: Final = _Link(delay)
        self._sleep: Final = sleep

    def read_into(self, offset: int, buffer: memoryview, /) -> int:
        now = time.perf_counter()
        self._sleep(self._link.arrival(now, len(buffer)) - now)
        return self._inner.read_into(offset, buffer)
