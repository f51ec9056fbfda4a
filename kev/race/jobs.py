"""Explores in several processes at once. What is found does not depend on how many there are."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from kev.race.explore import Exploration, Progress, explore
from kev.race.stopping import Stopped
from kev.race.strategy.base import Strategy
from kev.race.subject import Subject
from kev.race.workers import workers

_SMALLEST_SHARE: Final = 1
"""Runs that a process is given at first. Shares grow while they take less than `_SHARE_SECONDS`."""
_SHARE_SECONDS: Final = 0.3

A = TypeVar("A")
R = TypeVar("R")


def explore_shared(
    subject: Subject,
    strategy: Strategy,
    runs: int | None,
    jobs: int,
    progress: Progress | None = None,
    *,
    seconds: float | None = None,
    keep_going: bool = False,
) -> Exploration:
    """As `explore`, by `jobs` processes where a strategy's runs do not depend on each other."""
    if jobs <= 1 or not strategy.sampled:
        return explore(subject, strategy, runs, progress=progress, seconds=seconds, keep_going=keep_going)
    began = time.perf_counter()
    total = Exploration(keep_going=keep_going)
    waiting: dict[int, Exploration] = {}
    """Shares that are done, but not those before them."""
    given = added = start = 0
    share = _SMALLEST_SHARE
    with workers(_explore_share, jobs) as pool:
        try:
            while True:
                ended = total.over or (seconds is not None and time.perf_counter() - began >= seconds)
                while pool.idle and not ended and (runs is None or start < runs):
                    count = share if runs is None else min(share, runs - start)
                    pool.give(given, (subject, strategy, start, count, keep_going))
                    start, given = start + count, given + 1
                if total.over or not pool.busy:
                    break
                for number, part in pool.take():
                    waiting[number] = part
                    if part.seconds < _SHARE_SECONDS and part.runs == share:
                        share *= 2
                while added in waiting and not total.over:
                    total.add(waiting.pop(added))
                    added += 1
                total.seconds = time.perf_counter() - began
                if progress is not None:
                    progress(total)
        except Stopped as stopped:
            for number in sorted(waiting):
                total.add(waiting[number])
            total.stopped = stopped.signal
    total.strategy = total.strategy or strategy.describe()
    total.seconds = time.perf_counter() - began
    return total


def in_processes(function: Callable[[A], R], arguments: Sequence[A], jobs: int) -> Iterator[R]:
    """The results of `function`, in the order of `arguments`; whoever stops asking stops the processes. Stopped."""
    if jobs <= 1:
        yield from map(function, arguments)
        return
    with workers(function, jobs) as pool:
        done: dict[int, R] = {}
        given = taken = 0
        while taken < len(arguments):
            while pool.idle and given < len(arguments):
                pool.give(given, arguments[given])
                given += 1
            done.update(pool.take())
            while taken in done:
                yield done.pop(taken)
                taken += 1


def _explore_share(share: tuple[Subject, Strategy, int, int, bool]) -> Exploration:
    subject, strategy, first, runs, keep_going = share
    return explore(subject, strategy, runs, first=first, keep_going=keep_going)
