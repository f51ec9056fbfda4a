"""Explores in several processes at once. What is found does not depend on how many there are."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from math import ceil
from multiprocessing import get_context
from typing import Final, TypeVar

from kev.race.explore import Exploration, Progress, explore
from kev.race.strategy.base import Strategy
from kev.race.subject import Subject

_LARGEST_SHARE: Final = 1_000
"""Runs that a process is given at a time, if there are so many."""
_SHARES_EACH: Final = 4

A = TypeVar("A")
R = TypeVar("R")


def explore_shared(subject: Subject, strategy: Strategy, runs: int, jobs: int, progress: Progress | None = None) -> Exploration:
    """As `explore`, by `jobs` processes where a strategy's runs do not depend on each other."""
    if jobs <= 1 or not strategy.sampled:
        return explore(subject, strategy, runs, progress=progress)
    total = Exploration()
    share = min(_LARGEST_SHARE, ceil(runs / (jobs * _SHARES_EACH)))
    shares = [(subject, strategy, first, min(share, runs - first)) for first in range(0, runs, share)]
    for part in in_processes(_explore_share, shares, jobs):
        total.add(part)
        if progress is not None:
            progress(total)
        if total.over:
            break
    return total


def in_processes(function: Callable[[A], R], arguments: Sequence[A], jobs: int) -> Iterator[R]:
    """The results of `function`, in the order of `arguments`; whoever stops asking stops the processes."""
    if jobs <= 1:
        yield from map(function, arguments)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for argument in arguments:
                waiting.append(pool.submit(function, argument))
                if len(waiting) > 2 * jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _explore_share(share: tuple[Subject, Strategy, int, int]) -> Exploration:
    subject, strategy, first, runs = share
    return explore(subject, strategy, runs, first=first)
