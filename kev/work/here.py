"""Work that is done by the thread that gives it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

from kev.work.stopping import check

A = TypeVar("A")
R = TypeVar("R")


class _Thread(Generic[A, R]):
    def __init__(self, function: Callable[[A], R]) -> None:
        self._function: Final = function
        self._given: list[tuple[int, A]] = []

    @property
    def has_room(self) -> bool:
        return not self._given

    @property
    def is_busy(self) -> bool:
        return bool(self._given)

    def give(self, number: int, argument: A) -> None:
        self._given.append((number, argument))

    def take(self) -> list[tuple[int, R]]:
        check()
        number, argument = self._given.pop(0)
        return [(number, self._function(argument))]


class Here:
    """This thread, and no other."""

    size = 1
    share_seconds = 0.0

    @contextmanager
    def pool(self, function: Callable[[A], R]) -> Iterator[_Thread[A, R]]:
        yield _Thread(function)
