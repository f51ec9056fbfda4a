"""How long pages take to be loaded, as a histogram."""

import time
from bisect import bisect_left
from typing import Any, Final

from kev.addressing import Gpa
from kev.pager.pages import PageEvent

BOUNDS: Final = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 10.0)
"""Seconds: the upper end of each bucket but the last one, which has none."""


class LoadTimes:
    """Counts loads by how long they took: an observer of a pager (`kev.pager.protocols.LoadObserver`).

    A load that was under way before anybody observed it is not counted.
    """

    __slots__ = ("_began", "_counts", "_seconds")

    def __init__(self) -> None:
        self._began: Final[dict[int, float]] = {}
        self._counts: Final = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0

    def describe(self) -> dict[str, Any]:
        """`counts`: loads in each bucket; `seconds`: of all of them together."""
        return {"counts": list(self._counts), "seconds": self._seconds}

    def began(self, pages: range) -> None:
        self._began[pages.start] = time.perf_counter()

    def waited(self, gpa: Gpa) -> None:
        """It takes as long as the load that is waited for."""

    def ended(self, pages: range, event: PageEvent) -> None:
        began = self._began.pop(pages.start, None)
        if began is not None and event is PageEvent.PUBLISH:
            seconds = time.perf_counter() - began
            self._counts[bisect_left(BOUNDS, seconds)] += 1
            self._seconds += seconds
