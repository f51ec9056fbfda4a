"""The results of one function for many arguments, from whatever place computes them."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from kev.work.base import Place

A = TypeVar("A")
R = TypeVar("R")


def as_ended(function: Callable[[A], R], arguments: Sequence[A], place: Place) -> Iterator[tuple[int, R]]:
    """The index of each argument with its result, as results come. Whoever stops asking stops the workers. Stopped, WorkError."""
    with place.pool(function) as pool:
        given = 0
        while given < len(arguments) or pool.is_busy:
            while pool.has_room and given < len(arguments):
                pool.give(given, arguments[given])
                given += 1
            yield from pool.take()


def in_order(function: Callable[[A], R], arguments: Sequence[A], place: Place) -> Iterator[R]:
    """The results in the order of `arguments`, each as soon as those before it are there."""
    done: dict[int, R] = {}
    taken = 0
    for index, result in as_ended(function, arguments, place):
        done[index] = result
        while taken in done:
            yield done.pop(taken)
            taken += 1
