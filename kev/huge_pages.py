"""Huge pages of the host's behind memory that is written from end to end.

They save the host's processor walks of page tables: in a virtual machine, a guest that chases pointers through 200 MiB takes half
the time. But a virtual machine that reports its free memory to its host has to get each of them back from there, which takes ten
times as long as small pages do. So no more are made once they have cost more than small ones would have; only a guest that has run
for seconds gets them then, one after the other (Linux, "Transparent Hugepage Support"; madvise(2)).
"""

import contextlib
import mmap
import time
from typing import Final

from kev.addressing import MIB

HUGE: Final = 2 * MIB
_MADV_HUGEPAGE: Final = 14
_MADV_NOHUGEPAGE: Final = 15
_MADV_POPULATE_WRITE: Final = 23
_MADV_COLLAPSE: Final = 25
_LESS: Final = 1e-3
"""Seconds of the processor: as many bytes in small pages take less."""
_PATIENCE: Final = 5.0
"""Seconds of the processor, after which a guest gets huge pages at any price."""
_PAUSE: Final = 5.0
"""So many times as long as one has taken, there is no other."""


class HugePages:
    """Which 2 MiB of a mapping are huge pages, and which would be if that cost nothing."""

    __slots__ = ("_due", "_less", "_mapping", "_next_look", "_patience", "_pause", "_saved", "_skipped", "_small", "_were_made")

    def __init__(
        self, mapping: mmap.mmap, skipped: int, *, less: float = _LESS, patience: float = _PATIENCE, pause: float = _PAUSE
    ) -> None:
        """Byte 0 lies `skipped` bytes behind the beginning of `mapping`, and is aligned to 2 MiB.

        In seconds of the processor: huge pages are made as long as they take `less` on average, and behind the `patience` at any
        price, but none in a `pause` behind another, which is so many times as long as that has taken.
        """
        self._mapping: Final = mapping
        self._skipped: Final = skipped
        self._less: Final = less
        self._patience: Final = patience
        self._pause: Final = pause
        self._saved = 0.0
        """Seconds of the processor that huge pages have cost less than small ones. Negative: more, and no others are made."""
        self._were_made = False
        self._small: Final[list[int]] = []
        """Where those begin that could become huge pages later."""
        self._due = 0.0
        """When the next of them may, by the processor time of the thread."""
        self._next_look = 0.0
        """When that is looked at, by the clock."""

    def populate(self, start: int, length: int) -> None:
        """Provides memory that nobody has touched: as a huge page, if it is one and they have cost less so far than small ones."""
        with contextlib.suppress(OSError):
            if length != HUGE or start % HUGE:
                self._advise(_MADV_POPULATE_WRITE, start, length)
            elif self._saved >= 0:
                self._were_made = True
                self._advise(_MADV_HUGEPAGE, start, length)
                self._saved += self._less - self._took(_MADV_POPULATE_WRITE, start)
                self._due = time.thread_time() + self._patience
            else:
                self._advise(_MADV_POPULATE_WRITE, start, length)
                self._small.append(start)

    def promote(self) -> None:
        """Makes one a huge page that is none, if it is time. To be called often."""
        if not self._small or time.perf_counter() < self._next_look:
            return
        # The clock costs less than to ask for processor time, of which there is no more than of the clock's.
        left = self._due - time.thread_time()
        if left > 0:
            self._next_look = time.perf_counter() + left
            return
        start = self._small.pop(0)
        try:
            self._advise(_MADV_HUGEPAGE, start, HUGE)
            self._due = self._took(_MADV_COLLAPSE, start) * self._pause + time.thread_time()
        except OSError:
            # The host has none left, or is older than Linux 6.1.
            self._small.clear()

    def _took(self, advice: int, start: int) -> float:
        """Seconds of the processor."""
        began = time.thread_time()
        self._advise(advice, start, HUGE)
        return time.thread_time() - began

    def _advise(self, advice: int, start: int, length: int) -> None:
        """madvise(2). Raises OSError."""
        self._mapping.madvise(advice, self._skipped + start, length)

    def forget(self, length: int) -> None:
        """Nothing is a huge page any more that is touched from now on, in the `length` bytes of the mapping."""
        self._small.clear()
        self._saved = self._next_look = 0.0
        if self._were_made:
            self._were_made = False
            self._advise(_MADV_NOHUGEPAGE, 0, length)
