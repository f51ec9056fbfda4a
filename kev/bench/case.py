"""What is measured, and how often."""

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, Final

import attrs

_ENOUGH: Final = 0.3
"""Seconds: a case that takes less is measured several times a round."""
_MOST_REPETITIONS: Final = 15

Metrics = dict[str, float]
"""What one run came to: times end in _ms or _us, everything else is counted."""


@attrs.frozen(slots=True)
class Case:
    """Something that can be measured again and again under the same conditions."""

    scenario: str
    parameters: dict[str, Any]
    """What tells it from the other cases of its scenario."""
    measure: Callable[[], Metrics]
    command: tuple[str, ...] = ()
    """The exact command line, if it is a process."""

    @property
    def name(self) -> str:
        return " ".join([self.scenario, *(f"{key}={value}" for key, value in self.parameters.items())])


def run_rounds(cases: Sequence[Case], rounds: int, progress: Callable[[int, int], object]) -> list[dict[str, list[float]]]:
    """The values of each metric of each case, one a round, after a round that does not count.

    Every other round goes through the cases backwards: what changes on the machine meanwhile meets all of them alike. Where runs
    are short, a round has several of them, and the value of a time is the least: whatever disturbs a run makes it longer.
    """
    values: list[dict[str, list[float]]] = [{} for _ in cases]
    total = (rounds + 1) * len(cases)
    done = 0
    for number in range(rounds + 1):
        for index in range(len(cases)) if number % 2 else reversed(range(len(cases))):
            for metric, value in _measure(cases[index]).items():
                if number:
                    values[index].setdefault(metric, []).append(value)
            done += 1
            progress(done, total)
    return values


def _measure(case: Case) -> Metrics:
    runs: list[Metrics] = []
    end = time.perf_counter() + _ENOUGH
    while not runs or len(runs) < _MOST_REPETITIONS and time.perf_counter() < end:
        runs.append(case.measure())
    return {metric: (min if is_time(metric) else median)(run[metric] for run in runs) for metric in runs[0]}


def is_time(metric: str) -> bool:
    return metric.endswith(("_ms", "_us"))
