"""Processes that work for this one, and end with it, however it ends."""

import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process
from multiprocessing.context import SpawnProcess
from typing import Any, Final, Generic, NamedTuple, TypeVar

from kev.work.base import MOST_TRIES, Place, WorkerDied, WorkError
from kev.work.here import Here
from kev.work.stoppable import start_stoppably
from kev.work.stopping import check

_LOOK_EVERY: Final = 0.05
"""Seconds between two looks whether a signal has come."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGHUP)
_SHARE_SECONDS: Final = 0.3

A = TypeVar("A")
R = TypeVar("R")


def local(count: int) -> Place:
    """`count` processes of this computer; for one, this process does it."""
    return Here() if count <= 1 else Processes(count)


class Processes:
    """So many processes of this computer, even if it is one."""

    share_seconds = _SHARE_SECONDS

    def __init__(self, count: int) -> None:
        self.size: Final = count

    @contextmanager
    def pool(self, function: Callable[[A], R]) -> "Iterator[_Pool[A, R]]":
        made: _Pool[A, R] = _Pool(function, self.size)
        try:
            yield made
        finally:
            made.end()


class _Work(NamedTuple, Generic[A]):
    number: int
    argument: A
    tries: int


class _Worker(NamedTuple):
    process: SpawnProcess
    pipe: "connection.Connection[Any, Any]"


class _Pool(Generic[A, R]):
    """Processes that each work on one thing at a time. They are started when there is something to do."""

    def __init__(self, function: Callable[[A], R], size: int) -> None:
        self._function: Final = function
        self._size: Final = size
        self._idle: Final[list[_Worker]] = []
        self._busy: Final[dict[Any, tuple[_Worker, _Work[A]]]] = {}
        """Those that work, by their pipes, and what they work on."""

    @property
    def has_room(self) -> bool:
        return len(self._busy) < self._size

    @property
    def is_busy(self) -> bool:
        return bool(self._busy)

    def give(self, number: int, argument: A) -> None:
        self._begin(_Work(number, argument, 1))

    def take(self) -> list[tuple[int, R]]:
        while True:
            check()
            ready = connection.wait(list(self._busy), _LOOK_EVERY)
            results = [result for pipe in ready for result in self._results(pipe)]
            if results:
                return results

    def _begin(self, work: _Work[A]) -> None:
        worker = self._idle.pop() if self._idle else _started(self._function)
        self._busy[worker.pipe] = worker, work
        try:
            worker.pipe.send(work.argument)
        except OSError:
            """It has died while it was idle, which is seen when its result is taken."""

    def _results(self, pipe: Any) -> Iterator[tuple[int, R]]:
        """What a process has come to; nothing if it has died, and its work was begun again."""
        worker, work = self._busy.pop(pipe)
        try:
            error, result = worker.pipe.recv()
        except (EOFError, OSError):
            self._begin_again(worker, work)
            return
        if error is not None:
            raise error
        self._idle.append(worker)
        yield work.number, result

    def _begin_again(self, worker: _Worker, work: _Work[A]) -> None:
        worker.process.join()
        if work.tries == MOST_TRIES:
            code = worker.process.exitcode
            how = f"exit code {code}" if code is None or code >= 0 else signal.Signals(-code).name
            raise WorkerDied(f"piece {work.number} of the work has ended {MOST_TRIES} processes, the last by {how}")
        self._begin(work._replace(tries=work.tries + 1))

    def end(self) -> None:
        """At once, whatever they do."""
        workers = [*self._idle, *(worker for worker, _ in self._busy.values())]
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.process.join()


def _started(function: Callable[[Any], Any]) -> _Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(function, theirs), daemon=True)
    start_stoppably()
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _work(function: Callable[[Any], Any], ours: "connection.Connection[Any, Any]") -> None:
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
            ours.send((picklable(error), None))


def picklable(error: Exception) -> Exception:
    """The error itself, or one that says the same, if it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return WorkError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
