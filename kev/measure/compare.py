"""What has changed from one run of a benchmark to another, beyond noise."""

from collections.abc import Iterator
from typing import Any

import attrs

from kev.measure.result import BenchResult
from kev.measure.summary import Summary


@attrs.frozen(slots=True)
class Change:
    """A metric of a case, before and after."""

    case: str
    metric: str
    old: Summary
    new: Summary

    @property
    def ratio(self) -> float:
        """After to before."""
        return self.new.median / self.old.median if self.old.median else float("inf")

    @property
    def significant(self) -> bool | None:
        """The 95 % intervals have nothing in common; None if there were too few rounds to tell."""
        return self.old.differs(self.new)

    def as_dict(self) -> dict[str, Any]:
        return {
            "case": self.case,
            "metric": self.metric,
            "old": {"median": self.old.median, "low": self.old.low, "high": self.old.high},
            "new": {"median": self.new.median, "low": self.new.low, "high": self.new.high},
            "ratio": self.ratio if self.old.median else None,
            "significant": self.significant,
        }

    @property
    def is_worse(self) -> bool:
        """It has grown, beyond noise: whatever is measured, less of it is better."""
        return bool(self.significant) and self.ratio > 1


def changes(old: BenchResult, new: BenchResult) -> Iterator[Change]:
    """Every metric that both runs have."""
    before = {case.name: case for case in old.cases}
    for case in new.cases:
        if case.name in before:
            for metric, summary in case.metrics.items():
                if metric in before[case.name].metrics:
                    yield Change(case.name, metric, before[case.name].metrics[metric], summary)


def only_in(first: BenchResult, second: BenchResult) -> list[str]:
    """The cases of `first` that `second` does not have."""
    others = {case.name for case in second.cases}
    return [case.name for case in first.cases if case.name not in others]
