"""A source that is asked again for what it cannot give: it may come back."""

import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from kev.errors import KevError
from kev.pager.source import AsynchronousSource, PageSource, SourceError, SynchronousSource, blocking

_FIRST_PAUSE: Final = 0.1
"""Seconds before it is asked the second time; each pause is twice as long as the last."""
_LONGEST_PAUSE: Final = 5.0


Opened = TypeVar("Opened")


def opened_after_all(open: Callable[[], Opened], times: int | None) -> Opened:
    """What `open` returns, which is tried again so often while it raises a KevError. SourceError, with what the last try raised."""
    if not times:
        return open()
    for pause in _pauses(times):
        try:
            return open()
        except KevError as error:
            why = error
        time.sleep(pause)
    raise _given_up(why, times) from why


class RetryingSource(AsynchronousSource):
    """The bytes of another source."""

    def __init__(self, inner: SynchronousSource | AsynchronousSource, times: int) -> None:
        """`times`: how often a read is tried again."""
        super().__init__(_Blocking(blocking(inner), times))
        self._inner: Final[PageSource] = inner
        self._times: Final = times

    async def read_into(self, offset: int, buffer: memoryview, /) -> int:
        """SourceError, with what the last try failed with, if all have failed."""
        import trio

        for pause in _pauses(self._times):
            try:
                count = self._inner.read_into(offset, buffer)
                return count if isinstance(count, int) else await count
            except KevError as error:
                why = error
            await trio.sleep(pause)
        raise _given_up(why, self._times) from why


class _Blocking:
    """The same for whoever cannot await."""

    def __init__(self, inner: SynchronousSource, times: int) -> None:
        self.name: Final = inner.name
        self.size: Final = inner.size
        self._inner: Final = inner
        self._times: Final = times

    def read_into(self, offset: int, buffer: memoryview, /) -> int:
        for pause in _pauses(self._times):
            try:
                return self._inner.read_into(offset, buffer)
            except KevError as error:
                why = error
            time.sleep(pause)
        raise _given_up(why, self._times) from why


def _pauses(times: int) -> Iterator[float]:
    """Seconds behind each of the tries: none behind the last."""
    pause = _FIRST_PAUSE
    for _ in range(times):
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE)
    yield 0


def _given_up(why: KevError, times: int) -> SourceError:
    return SourceError(f"{why}; it was asked {times + 1} times")
