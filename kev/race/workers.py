"""Processes that work for this one, and end with it, however it ends."""

import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process
from typing import Any, Final, Generic, TypeVar

from kev.race.errors import RaceError
from kev.race.stopping import check

_LOOK_EVERY: Final = 0.1
"""Seconds between two looks whether a signal has come."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGHUP)

A = TypeVar("A")
R = TypeVar("R")


class WorkerDied(RaceError):
    """A process has ended without an answer."""


class Workers(Generic[A, R]):
    """Processes that each work on one thing at a time."""

    def __init__(self, function: Callable[[A], R], count: int) -> None:
        context = get_context("spawn")
        self._busy: Final[dict[connection.Connection, int]] = {}
        """Those that work, and the number of what they work on."""
        self.idle: Final[list[connection.Connection]] = []
        self._processes: Final = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(function, theirs), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self.idle.append(ours)

    @property
    def busy(self) -> bool:
        return bool(self._busy)

    def give(self, number: int, argument: A) -> None:
        """Lets an idle one work on `argument`."""
        worker = self.idle.pop()
        worker.send(argument)
        self._busy[worker] = number

    def take(self) -> list[tuple[int, R]]:
        """Waits until at least one has done its work: numbers and results. Whatever it raised; Stopped; WorkerDied."""
        while True:
            check()
            ready = connection.wait(list(self._busy), _LOOK_EVERY)
            if ready:
                return [self._take(worker) for worker in ready if isinstance(worker, connection.Connection)]

    def _take(self, worker: connection.Connection) -> tuple[int, R]:
        number = self._busy.pop(worker)
        try:
            error, result = worker.recv()
        except (EOFError, OSError) as gone:
            raise WorkerDied("a process that looks for races has ended without an answer") from gone
        if error is not None:
            raise error
        self.idle.append(worker)
        return number, result

    def end(self) -> None:
        """At once, whatever they do."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()


@contextmanager
def workers(function: Callable[[A], R], count: int) -> Iterator[Workers[A, R]]:
    """`count` processes that compute `function`, until the end of the block."""
    made: Workers[A, R] = Workers(function, count)
    try:
        yield made
    finally:
        made.end()


def _work(function: Callable[[Any], Any], ours: connection.Connection) -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the process that has started this one says when to end
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            argument = ours.recv()
        except EOFError:
            return
        try:
            ours.send((None, function(argument)))
        except Exception as error:
            ours.send((_picklable(error), None))


def _picklable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RaceError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
