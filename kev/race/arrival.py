"""What a source of a race test returns: bytes that are there when the schedule says so."""

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")


class Arrival(Generic[T]):
    """Something that is there after an await. Unlike a coroutine it may be forgotten: broken pagers do."""

    __slots__ = ("_result", "_wait")

    def __init__(self, wait: Callable[[], Awaitable[None]], result: T) -> None:
        self._wait: Final = wait
        self._result: Final = result

    def __await__(self) -> Generator[Any, Any, T]:
        yield from self._wait().__await__()
        return self._result
