"""What is measured, and how often."""

import gc
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


def run_rounds(cases: Sequence[Case], rounds: int, progress: Callable[[int], object]) -> list[dict[str, list[float]]]:
    """The values of each metric of each case, one a round, after a round that does not count. Tells `progress` of rounds done.

    A round goes through the cases again and again, forwards and backwards in turn, until each has run often enough: what changes on
    the machine meanwhile meets all of them alike. The value of a time is the least: whatever disturbs a run makes it longer.
    """
    values: list[dict[str, list[float]]] = [{} for _ in cases]
    _round(cases, repetitions=1)
    # What is there by now stays: looking through it before each run would take longer than most runs.
    gc.collect()
    gc.freeze()
    try:
        for number in range(rounds):
            for index, metrics in enumerate(_round(cases, _MOST_REPETITIONS)):
                for metric, value in metrics.items():
                    values[index].setdefault(metric, []).append(value)
            progress(number + 1)
    finally:
        gc.unfreeze()
    return values


def _round(cases: Sequence[Case], repetitions: int) -> list[Metrics]:
    runs: list[list[Metrics]] = [[] for _ in cases]
    spent = [0.0] * len(cases)
    waiting = list(range(len(cases)))
    while waiting:
        for index in waiting:
            began = time.perf_counter()
            runs[index].append(cases[index].measure())
            spent[index] += time.perf_counter() - began
        waiting = [index for index in reversed(waiting) if spent[index] < _ENOUGH and len(runs[index]) < repetitions]
    return [_summary_of_round(of_case) for of_case in runs]


def _summary_of_round(runs: Sequence[Metrics]) -> Metrics:
    return {metric: (min if is_time(metric) else median)(run[metric] for run in runs) for metric in runs[0]}


def is_time(metric: str) -> bool:
    return metric.endswith(("_ms", "_us"))
