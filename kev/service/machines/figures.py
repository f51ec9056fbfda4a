"""How far runs are, and what all of them have come to."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Self

from kev.service.load_times import BOUNDS


class Figures(NamedTuple):
    """How far a run is."""

    pages_loaded: int = 0
    violations: int = 0
    exits: Mapping[str, int] = {}
    load_counts: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    """Loads by how long they took: the buckets of `kev.service.load_times`."""
    load_seconds: float = 0.0

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """What `kev.service.home.Home.figures` has told."""
        times = told["load_times"]
        return cls(told["pages_loaded"], told["violations"], told["exits"], tuple(times["counts"]), times["seconds"])

    @classmethod
    def of_report(cls, report: Mapping[str, Any]) -> Self:
        """What a report tells of them: all but how long loads took."""
        return cls(report["pages_loaded"], report["violations"], report["exits"])


class Totals:
    """What all machines have done: it only grows."""

    def __init__(self) -> None:
        self.machines = 0
        """That were made."""
        self.pages_loaded = 0
        self.violations = 0
        self.exits: Final[Counter[str]] = Counter()
        self.load_counts: Final = [0] * (len(BOUNDS) + 1)
        self.load_seconds = 0.0

    def add(self, before: Figures, after: Figures) -> None:
        """One of them has come from `before` to `after`."""
        self.pages_loaded += after.pages_loaded - before.pages_loaded
        self.violations += after.violations - before.violations
        for kind, count in after.exits.items():
            self.exits[kind] += count - before.exits.get(kind, 0)
        for bucket, (new, old) in enumerate(zip(after.load_counts, before.load_counts, strict=True)):
            self.load_counts[bucket] += new - old
        self.load_seconds += after.load_seconds - before.load_seconds
