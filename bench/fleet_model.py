"""A fleet as a simulation of discrete events: what it does when it has more workers than there are here.

Scheduler and client are one server, which takes every task once, after its end, and hands out another one with it; each worker has
two tasks, so that it works on one while the other is on its way. What they cost is measured.
"""

from heapq import heapify, heappop, heappush
from typing import Final

import attrs

from kev.fleet.dask import share_seconds
from kev.race.jobs import size_of_share

WORKERS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
_TASKS_EACH: Final = 2


@attrs.frozen(slots=True)
class Costs:
    """In seconds."""

    run: float
    """Of a schedule."""
    task: float
    """Of scheduler and client, for each task."""
    merge: float
    """Of the client, for each schedule that a result tells of."""
    travel: float
    """From a worker to the client and back."""

    def share(self, workers: int) -> int:
        """The runs of a task, where there are enough of them."""
        return max(round(share_seconds(workers, self.travel, self.task) / self.run), 1)


def speed_up(costs: Costs, workers: int, runs: int) -> float:
    """How much sooner so many workers make `runs` runs than one process without a fleet."""
    share, left, free = costs.share(workers), runs, 0.0
    ready = [0.0] * workers
    """When each worker has done what it was given."""
    waiting = [(0.0, worker) for worker in range(workers) for _ in range(_TASKS_EACH)]
    """When the client hears that each worker can be given something more."""
    heapify(waiting)
    last = 0.0
    while waiting:
        heard, worker = heappop(waiting)
        size = size_of_share(share, left, workers)
        if not size:
            continue
        left -= size
        free = max(free, heard) + costs.task
        ready[worker] = max(ready[worker], free + costs.travel / 2) + size * costs.run
        free += size * costs.merge
        heappush(waiting, (ready[worker] + costs.travel / 2, worker))
        last = max(last, ready[worker] + costs.travel / 2)
    return runs * costs.run / max(free, last)
