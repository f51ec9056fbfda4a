"""What a benchmark found out."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs


@attrs.frozen(slots=True)
class Measurement:
    """One quantity, measured several times."""

    name: str
    unit: str
    samples: Sequence[float]
    """One of each round; at least one."""
    limit: float | None = None
    """The target: the most that the median may be."""
    floor: float | None = None
    """The target, where more is better: the least that the median may be."""

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def least(self) -> float:
        return min(self.samples)

    @property
    def most(self) -> float:
        return max(self.samples)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None if there is none."""
        if self.floor is not None:
            return self.median >= self.floor
        return None if self.limit is None else self.median <= self.limit

    def as_dict(self) -> dict[str, Any]:
        """The measurement as JSON holds it."""
        numbers = {"median": self.median, "min": self.least, "max": self.most, "samples": list(self.samples)}
        return {"name": self.name, "unit": self.unit, **numbers, "limit": self.limit, "floor": self.floor, "met": self.met}


@attrs.frozen(slots=True)
class Skipped:
    """What could not be measured here."""

    name: str
    reason: str

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "skipped": self.reason}


Result: TypeAlias = Measurement | Skipped


def repeat(rounds: int, quick: bool, measure_once: Callable[[], Mapping[str, float]]) -> dict[str, list[float]]:
    """What `measure_once` found in each round, by name.

    In every round everything is measured once: whatever disturbs the host for a while disturbs all of it. A round before them is
    not counted: it finds caches cold and modules not imported. If `quick`, that is the only one.
    """
    measured = [measure_once() for _ in range(1 if quick else 1 + rounds)]
    counted = measured if quick else measured[1:]
    return {name: [samples[name] for samples in counted] for name in counted[0]}


def differences(minuends: Sequence[float], subtrahends: Sequence[float]) -> list[float]:
    """Round by round."""
    return [minuend - subtrahend for minuend, subtrahend in zip(minuends, subtrahends, strict=True)]
