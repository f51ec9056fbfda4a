"""What a pager counts."""

from operator import attrgetter
from typing import Final


class PagerStatistics:
    """What has happened so far, in pages."""

    __slots__ = ("cancellations", "evictions", "failures", "loads", "spurious", "waits")

    def __init__(self) -> None:
        self.loads = 0
        self.failures = 0
        self.cancellations = 0
        self.evictions = 0
        self.waits = 0
        """How often a vCPU waited for another's load."""
        self.spurious = 0
        """Violations on pages that were Present already."""

    def save(self) -> tuple[int, ...]:
        return _read(self)

    def load(self, saved: tuple[int, ...]) -> None:
        self.cancellations, self.evictions, self.failures, self.loads, self.spurious, self.waits = saved

    @property
    def present(self) -> int:
        """Loaded, and not evicted since."""
        return self.loads - self.evictions


_read: Final = attrgetter(*PagerStatistics.__slots__)
