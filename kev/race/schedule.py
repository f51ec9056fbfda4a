"""A schedule, as data: which vCPU ran for how long, one after the other."""

from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple, Self

import attrs


class Stretch(NamedTuple):
    """One vCPU's turn."""

    vcpu: int
    steps: int
    """Instructions of a guest; from one scheduling point to the next in a trace program."""


@attrs.frozen(slots=True)
class Schedule:
    """Who ran for how long. Two segments that follow each other are of different vCPUs."""

    segments: tuple[Stretch, ...]

    @classmethod
    def of(cls, segments: Iterable[tuple[int, int]]) -> Self:
        """The schedule of these (vCPU, steps); neighbours of the same vCPU become one, empty ones are dropped."""
        runs = groupby((segment for segment in segments if segment[1] > 0), key=lambda segment: segment[0])
        return cls(tuple(Stretch(vcpu, sum(steps for _, steps in turns)) for vcpu, turns in runs))

    @classmethod
    def from_order(cls, order: Iterable[int]) -> Self:
        """The schedule of single steps: the vCPU that took each."""
        return cls(tuple(Stretch(vcpu, sum(1 for _ in turns)) for vcpu, turns in groupby(order)))

    @property
    def switches(self) -> int:
        """How often another vCPU went on."""
        return max(len(self.segments) - 1, 0)

    @property
    def steps(self) -> int:
        return sum(segment.steps for segment in self.segments)

    def __str__(self) -> str:
        return " ".join(f"{vcpu}:{steps}" for vcpu, steps in self.segments)
