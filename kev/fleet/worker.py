"""What a worker of a Dask scheduler does: it is given bytes, and gives bytes back."""

import os
import pickle
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from kev.errors import KevError
from kev.fleet.errors import FleetError
from kev.fleet.files import arrivals
from kev.fleet.packing import Unpacking
from kev.fleet.versions import Versions
from kev.work.processes import picklable
from kev.work.stopping import Stopped, check, stopped_when

FOLDER: Final = "kev-files"
"""In a worker's own folder: files that have arrived."""
_LOOK_EVERY: Final = 0.1  # seconds
_one_at_a_time: Final = threading.Lock()
"""Machines that wait for their next run serve one thread."""


class Call:
    """Pickled, it is a call of `perform`: so the scheduler, which reads the name of what a worker calls, needs no kev."""

    def __init__(self, versions: Versions, data: bytes, parts: Sequence[pickle.PickleBuffer]) -> None:
        self._arguments: Final = (tuple(versions), data, list(parts))

    def __reduce__(self) -> tuple[Any, ...]:
        return perform, self._arguments


class Question:
    """Pickled, it asks for the versions of whoever reads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return versions_here, ()


def versions_here() -> tuple[str, ...]:
    return tuple(Versions.here())


def perform(versions: tuple[str, ...], data: bytes, parts: Sequence[Any]) -> bytes:
    """Computes a function of an argument, both packed in `data`: the pickle of an error or None, and of the result.

    It ends early when nobody wants the result any more. A KevError has the names of files that they had.
    """
    from distributed import get_worker

    worker = get_worker()
    difference = Versions(*versions).difference(Versions.here())
    if difference:
        return pickle.dumps((FleetError(f"worker {worker.address}: {difference}"), None))
    unpacking = Unpacking(arrivals(os.path.join(worker.local_directory, FOLDER)))
    with stopped_when(_unwanted(worker)):
        try:
            with _Turn():
                function, argument = unpacking.unpack(data, parts)
                return unpacking.pack_result((None, function(argument)))
        except Stopped:
            return b""
        except KevError as error:
            error.args = tuple(unpacking.restore_names(text) if isinstance(text, str) else text for text in error.args)
            return pickle.dumps((picklable(error), None))
        except Exception as error:
            return pickle.dumps((FleetError(f"worker {worker.address}: {type(error).__name__}: {error}"), None))


class _Turn:
    """A worker with several threads works with one of them at a time."""

    def __enter__(self) -> None:
        while not _one_at_a_time.acquire(timeout=_LOOK_EVERY):
            check()

    def __exit__(self, *_: object) -> None:
        _one_at_a_time.release()


def _unwanted(worker: Any) -> Callable[[], bool]:
    """Whether the task of this thread was cancelled, or whoever gave it is gone."""
    key, tasks = worker.get_current_task(), worker.state.tasks

    def look() -> bool:
        task = tasks.get(key)
        return task is None or task.state == "cancelled"

    return look
