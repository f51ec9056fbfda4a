"""What work is given to: a place, and the pool of workers that is there while one function is computed."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from kev.errors import KevError

MOST_TRIES = 3
"""A piece of work that has ended so many workers is not tried again."""

A = TypeVar("A")
A_contra = TypeVar("A_contra", contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class WorkError(KevError):
    """Work cannot be done where it should be."""


class WorkerDied(WorkError):
    """A piece of work has ended `MOST_TRIES` workers."""


class Pool(Protocol[A_contra, R_co]):
    """Workers that compute one function of many arguments. A worker that dies costs another try of what it worked on."""

    @property
    def has_room(self) -> bool:
        """It can be given something more."""

    @property
    def is_busy(self) -> bool:
        """There is something to wait for."""

    def give(self, number: int, argument: A_contra) -> None:
        """Lets a worker compute the function of `argument`. What was given a lower number comes first. WorkError."""

    def take(self) -> Sequence[tuple[int, R_co]]:
        """Waits until at least one result is there: numbers and results. Whatever the function raised; Stopped; WorkError."""


class Place(Protocol):
    """Where work is done."""

    @property
    def size(self) -> int:
        """How many workers there are."""

    @property
    def share_seconds(self) -> float:
        """For how long a worker should have enough with what it is given, so that giving it costs next to nothing beside it."""

    def pool(self, function: Callable[[A], R]) -> AbstractContextManager[Pool[A, R]]:
        """Workers until the end of the block: then they stop, whatever they do. What is computed can be pickled. WorkError."""
