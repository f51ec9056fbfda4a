"""Workers of a Dask scheduler (https://distributed.dask.org).

The scheduler decides who works on what, and gives what a worker had that has died to another one. What it is handed are bytes, with
which `pickle.loads` calls `kev.fleet.worker.perform`; parts of files are tasks of their own, which workers get from each other.
"""

import asyncio
import pickle
import queue
import socket
import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, Final, Generic, TypeVar

from kev.errors import one_line
from kev.fleet.errors import FleetError
from kev.fleet.files import Shipper
from kev.fleet.packing import pack
from kev.fleet.versions import Versions, short
from kev.fleet.worker import Call, Question
from kev.work.base import MOST_TRIES, WorkerDied
from kev.work.stopping import check

_PATIENCE: Final = 4.0
"""Seconds within which a scheduler answers, or is none."""
_LOOK_EVERY: Final = 0.1
"""Seconds between two looks whether a signal has come, or the scheduler is gone."""
_COUNT_EVERY: Final = 1.0
"""Seconds between two counts of the workers."""
_TASKS_EACH: Final = 2
"""Tasks that a worker has at a time: while it works on one, the next one is on its way."""
_ROUND_TRIPS: Final = 5
_AT_ONCE: Final = 32
"""Tasks that do nothing, to see how many go through the scheduler in a second."""
_ASKED: Final = 64
"""Workers that are asked at the beginning for their versions."""
SHORTEST_SHARE: Final = 1.0
"""Seconds."""
MOST_OVERHEAD: Final = 0.05
"""Of the time that workers work: what may be lost by handing out the work."""
MOST_LOAD: Final = 0.5
"""Of the time of scheduler and client, so that nobody waits for them."""

A = TypeVar("A")
R = TypeVar("R")


class DaskPlace:
    """All workers of a scheduler."""

    def __init__(self, client: Any, address: str, store: str | None) -> None:
        self._client: Final = client
        self.address: Final = address
        self._shipper: Final = Shipper(store or "")
        self._parts: Final[dict[int, Any]] = {}
        """Futures of parts of files, which the shipper keeps: the scheduler does as long as these are here."""
        self._size = 0
        self._counted = float("-inf")
        self.round_trip, self.each = self.measure()

    @property
    def size(self) -> int:
        now = time.monotonic()
        if now - self._counted > _COUNT_EVERY:
            self._size, self._counted = max(len(self._client.nthreads()), 1), now
        return self._size

    @property
    def share_seconds(self) -> float:
        return share_seconds(self.size, self.round_trip, self.each)

    @contextmanager
    def pool(self, function: Callable[[A], R]) -> "Iterator[_Pool[A, R]]":
        made: _Pool[A, R] = _Pool(self, self._client, function)
        try:
            yield made
        finally:
            made.end()

    def submit(self, number: int, function: Callable[..., Any], argument: object) -> Any:
        """The future of a call. FleetError."""
        packed = pack((function, argument), self._shipper)
        parts = [self._part(part) for part in packed.parts]
        data = pickle.dumps(Call(Versions.here(), packed.data, packed.parts), 5, buffer_callback=lambda _: False)
        return self._client.submit(pickle.loads, data, buffers=parts, key=f"kev-{uuid.uuid4().hex}", pure=False, priority=-number)

    def _part(self, part: pickle.PickleBuffer) -> Any:
        if id(part) not in self._parts:
            data = part.raw().tobytes()
            self._parts[id(part)] = self._client.submit(bytes, data, key=f"kev_file-{sha256(data).hexdigest()}")
        return self._parts[id(part)]

    def check(self) -> None:
        """FleetError if the scheduler is gone."""
        if self._client.status != "running":
            raise FleetError(f"dask://{self.address}: the scheduler is gone")

    def measure(self) -> tuple[float, float]:
        """Seconds from handing out a task that does nothing to its result, and for each of many at once."""
        trips = []
        for _ in range(_ROUND_TRIPS):
            began = time.perf_counter()
            self._client.submit(int, pure=False).result()
            trips.append(time.perf_counter() - began)
        began = time.perf_counter()
        self._client.gather([self._client.submit(int, pure=False) for _ in range(_AT_ONCE)])
        return statistics.median(trips), (time.perf_counter() - began) / _AT_ONCE


def share_seconds(workers: int, round_trip: float, each: float) -> float:
    """For how long a worker should have enough with a task.

    So long that a task costs no more than `MOST_OVERHEAD` of that; that the next one has come meanwhile; and that all workers
    together take no more than `MOST_LOAD` of what scheduler and client can do.
    """
    return max(SHORTEST_SHARE, each / MOST_OVERHEAD, round_trip, workers * each / MOST_LOAD)


class _Pool(Generic[A, R]):
    """One function for many arguments."""

    def __init__(self, place: DaskPlace, client: Any, function: Callable[[A], R]) -> None:
        self._place: Final = place
        self._client: Final = client
        self._function: Final = function
        self._given: Final[dict[Any, tuple[int, A, int]]] = {}
        """What is under way, by its future: its number, its argument, and how often it was tried."""
        self._ended: Final[queue.SimpleQueue[Any]] = queue.SimpleQueue()

    @property
    def has_room(self) -> bool:
        return len(self._given) < _TASKS_EACH * self._place.size

    @property
    def is_busy(self) -> bool:
        return bool(self._given)

    def give(self, number: int, argument: A) -> None:
        self._begin(number, argument, 1)

    def _begin(self, number: int, argument: A, tries: int) -> None:
        future = self._place.submit(number, self._function, argument)
        self._given[future] = number, argument, tries
        future.add_done_callback(self._ended.put)

    def take(self) -> list[tuple[int, R]]:
        while True:
            futures = self._some_ended()
            results = [result for future in futures if future in self._given for result in self._result(future)]
            if results:
                return results

    def _some_ended(self) -> Sequence[Any]:
        """At least one future that has ended, and all others that have by now."""
        while True:
            check()
            self._place.check()
            try:
                futures = [self._ended.get(timeout=_LOOK_EVERY)]
            except queue.Empty:
                continue
            while not self._ended.empty():
                futures.append(self._ended.get())
            return futures

    def _result(self, future: Any) -> Iterator[tuple[int, R]]:
        """What it has come to; nothing if it was lost, and is begun again."""
        number, argument, tries = self._given.pop(future)
        data = self._data(future, number)
        if not data:
            self._place.check()
            if tries == MOST_TRIES:
                raise WorkerDied(f"piece {number} of the work was lost {MOST_TRIES} times")
            self._begin(number, argument, tries + 1)
            return
        error, result = pickle.loads(data)
        if error is not None:
            raise error
        yield number, result

    def _data(self, future: Any, number: int) -> bytes:
        from distributed import KilledWorker

        try:
            data: bytes = future.result() if future.status == "finished" else b""
            error = future.exception() if future.status == "error" else None
        except Exception as lost:  # what was finished went with its worker
            data, error = b"", None if "Cancelled" in type(lost).__name__ else lost
        if isinstance(error, KilledWorker):
            raise WorkerDied(
                f"piece {number} of the work has ended every worker that it was given to, {error.last_worker.address} last"
            )
        if isinstance(error, ModuleNotFoundError):
            raise FleetError(
                f"a worker of {self._place.address} has no module {error.name!r}, which the work needs: install it there"
            )
        if error is not None:
            raise FleetError(one_line(f"a worker of {self._place.address} fails: {type(error).__name__}: {error}"))
        return data

    def end(self) -> None:
        if self._given:
            try:
                self._client.cancel(list(self._given), force=True)
            except Exception:
                """The scheduler is gone, and with it what it was to forget."""
            self._given.clear()


@contextmanager
def connected(host: str, port: int, store: str | None) -> Iterator[DaskPlace]:
    """The workers of the scheduler there, until the end of the block. FleetError."""
    place = f"dask://{host}:{port}"
    try:
        import distributed
    except ImportError as error:
        raise FleetError(f"--on: {place}: needs Dask: `pip install kev-hypervisor[fleet]`") from error
    address = f"tcp://{host}:{port}"
    _knock(place, host, port, address)
    try:
        client = distributed.Client(address, timeout=_PATIENCE, set_as_default=False, name="kev")
    except (OSError, ValueError) as error:
        raise FleetError(f"--on: {place}: {one_line(str(error))}") from error
    with _quiet():
        try:
            _require_alike(client, place)
            yield DaskPlace(client, f"{host}:{port}", store)
        finally:
            client.close(timeout=1)


def _knock(place: str, host: str, port: int, address: str) -> None:
    """FleetError within `_PATIENCE` if nobody listens there, or if it is no scheduler: a client would wait for one for ever."""
    from distributed.core import rpc

    try:
        socket.create_connection((host.strip("[]"), port), _PATIENCE).close()
    except OSError as error:
        reason = error.strerror or f"no answer within {_PATIENCE:g} s"
        raise FleetError(f"--on: {place}: nobody listens there: {reason}") from error

    async def ask() -> None:
        async with rpc(address) as scheduler:
            answers.append((await asyncio.wait_for(scheduler.identity(), _PATIENCE)).get("type"))

    def knock() -> None:
        try:
            asyncio.run(asyncio.wait_for(ask(), _PATIENCE))
        except Exception as error:
            answers.append(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)

    answers: list[Any] = []
    # In a thread of its own: this one may have an event loop.
    thread = threading.Thread(target=knock, daemon=True)
    thread.start()
    thread.join(_PATIENCE + 1)
    if answers != ["Scheduler"]:
        raise FleetError(
            f"--on: {place}: is no scheduler of Dask: {one_line(str(answers[0] if answers else 'it does not answer'))}"
        )


def _require_alike(client: Any, place: str) -> None:
    """FleetError, which names both, if a worker's versions are not those of this process; or if there is no worker.

    Of many, some are asked; the others are by whatever they are given.
    """
    deadline = time.monotonic() + _PATIENCE
    while not (workers := client.get_versions()["workers"]):
        if time.monotonic() >= deadline:
            to_start = f"`dask worker {place.removeprefix('dask://')} --nthreads 1`"
            raise FleetError(f"--on: {place}: has no workers: start some with {to_start}")
        check()
        time.sleep(_LOOK_EVERY)
    here = Versions.here()
    for address, found in workers.items():
        python = short(found["host"]["python"])
        if python != here.python:
            raise FleetError(f"--on: {place}: worker {address}: {here.difference(here._replace(python=python))}")
    question = pickle.dumps(Question())
    asked = {
        address: client.submit(pickle.loads, question, pure=False, workers=[address], key=f"kev-{uuid.uuid4().hex}")
        for address in list(workers)[:_ASKED]
    }
    for address, future in asked.items():
        try:
            there = Versions(*future.result(timeout=_PATIENCE))
        except ModuleNotFoundError as error:
            which = "no kev" if error.name == "kev" else f"a kev without {error.name}"
            raise FleetError(
                f"--on: {place}: worker {address} has {which}: install version {here.kev} of kev-hypervisor there"
            ) from error
        except Exception as error:  # it is gone, or busy: then whatever it is given is refused there
            if future.status == "error":
                raise FleetError(one_line(f"--on: {place}: worker {address}: {type(error).__name__}: {error}")) from error
            continue
        if difference := here.difference(there):
            raise FleetError(f"--on: {place}: worker {address}: {difference}")


@contextmanager
def _quiet() -> Iterator[None]:
    """What Dask logs of connections that are lost is said by an error."""
    import logging

    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
