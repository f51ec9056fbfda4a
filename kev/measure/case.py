"""What is measured, and how often."""

import gc
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, Final

import attrs

from kev.errors import KevError
from kev.work.stopping import check

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


class Rounds:
    """The rounds of a benchmark, as far as they have been made."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.cases: Final = cases
        self.done = 0
        self.values: Final[list[dict[str, list[float]]]] = [{} for _ in cases]
        """Of each metric of each case, one a round. That of a time is the least: whatever disturbs a run makes it longer."""
        self.runs: Final[list[dict[str, list[list[float]]]]] = [{} for _ in cases]
        """Of each time of each case, one a single run, by round."""

    def measure(self, rounds: int, progress: Callable[[int], object]) -> None:
        """Makes so many, after one that does not count. Tells `progress` of rounds done. Stopped, between two runs.

        A round goes through the cases again and again, forwards and backwards in turn, until each has run often enough: what
        changes on the machine meanwhile meets all of them alike.
        """
        _round(self.cases, repetitions=1)
        # What is there by now stays: looking through it before each run would take longer than most runs.
        gc.collect()
        gc.freeze()
        try:
            for _ in range(rounds):
                self._add(_round(self.cases, _MOST_REPETITIONS))
                progress(self.done)
        finally:
            gc.unfreeze()

    def _add(self, found: list[list[Metrics]]) -> None:
        for index, runs in enumerate(found):
            for metric, value in _summary_of_round(runs).items():
                self.values[index].setdefault(metric, []).append(value)
                if is_time(metric):
                    self.runs[index].setdefault(metric, []).append([run[metric] for run in runs])
        self.done += 1


def _round(cases: Sequence[Case], repetitions: int) -> list[list[Metrics]]:
    """The runs of each case."""
    runs: list[list[Metrics]] = [[] for _ in cases]
    spent = [0.0] * len(cases)
    waiting = list(range(len(cases)))
    while waiting:
        for index in waiting:
            began = time.perf_counter()
            runs[index].append(_measured(cases[index]))
            spent[index] += time.perf_counter() - began
        waiting = [index for index in reversed(waiting) if spent[index] < _ENOUGH and len(runs[index]) < repetitions]
    return runs


def _measured(case: Case) -> Metrics:
    try:
        metrics = case.measure()
    except KevError:
        check()  # a run that a signal has cut short has not failed
        raise
    check()
    return metrics


def _summary_of_round(runs: Sequence[Metrics]) -> Metrics:
    return {metric: (min if is_time(metric) else median)(run[metric] for run in runs) for metric in runs[0]}


def is_time(metric: str) -> bool:
    return metric.endswith(("_ms", "_us"))
