"""Results as lines for a person."""

from collections.abc import Iterator, Sequence
from itertools import chain

from kev.measure.case import is_time
from kev.measure.compare import Change
from kev.measure.page_cache import CACHED
from kev.measure.result import BenchResult, CaseResult
from kev.measure.summary import PERCENTILES, Summary, values_outside
from kev.measure.targets import Target


def table(result: BenchResult, targets: Sequence[Target]) -> Iterator[str]:
    """All figures: medians, and behind each time the larger distance to an end of its 95 % interval."""
    yield "  ".join(f"{name} {value}" for name, value in result.environment.items())
    yield f"medians of {rounds_text(result.rounds)}, each the best of its short runs; {intervals_text(result.rounds)}"
    for scenario in dict.fromkeys(case.scenario for case in result.cases):
        yield ""
        yield from _scenario(result.scenario(scenario))
    yield from _percentiles(result)
    yield ""
    for case in result.cases:
        if case.command:
            yield f"{case.parameters['what']}: {' '.join(case.command)}"
    yield from _not_cold(result)
    for target in targets:
        yield f"{'met   ' if target.met else 'MISSED'}  {target}"


def _scenario(cases: Sequence[CaseResult]) -> Iterator[str]:
    metrics = list(dict.fromkeys(metric for case in cases for metric in case.metrics))
    header = [cases[0].scenario, *cases[0].parameters.keys(), *metrics]
    rows = [["", *map(str, case.parameters.values()), *(_cell(case, metric) for metric in metrics)] for case in cases]
    yield from _lines([header, *rows])


def _lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def rounds_text(rounds: int) -> str:
    """How many they are."""
    return "1 round" if rounds == 1 else f"{rounds} rounds"


def intervals_text(rounds: int) -> str:
    """What is said of the 95 % intervals of so many rounds."""
    return "too few for 95 % intervals" if values_outside(rounds) is None else "in brackets their 95 % intervals"


def _percentiles(result: BenchResult) -> Iterator[str]:
    """Of single runs, disturbed ones included: what a user meets."""
    known = [
        (case.name, metric, len(list(chain.from_iterable(summary.runs))), summary.percentiles)
        for case in result.cases
        for metric, summary in case.metrics.items()
        if len(summary.percentiles) > 1
    ]
    if not known:
        return
    yield ""
    header = ["single runs", "metric", "runs", *(f"p{percent}" for percent in PERCENTILES)]
    rows = [
        [name, metric, str(count), *(f"{found[percent]:.2f}" if percent in found else "" for percent in PERCENTILES)]
        for name, metric, count, found in known
    ]
    yield from _lines([header, *rows])


def _not_cold(result: BenchResult) -> Iterator[str]:
    for case in result.cases:
        cached = max(case.metrics[CACHED].values) if CACHED in case.metrics else 0
        if cached:
            yield f"NOT COLD  {case.name}: {cached:,.0f} KiB stayed in the page cache"


def _cell(case: CaseResult, metric: str) -> str:
    summary = case.metrics.get(metric)
    return "" if summary is None else summary_text(metric, summary)


def summary_text(metric: str, summary: Summary) -> str:
    """A time or a ratio with its interval, if it has one; a count without."""
    interval = "" if summary.low is None else f" [{summary.low:.2f}-{summary.high:.2f}]"
    if is_time(metric):
        return f"{summary.median:.2f}{interval}"
    if metric.endswith("_ratio"):
        return f"{summary.median:.2f}x{interval}"
    return f"{summary.median:,.0f}"


def change_text(change: Change) -> str:
    """A change in a line: by how much, and whether that is more than noise; `?` if that cannot be told."""
    verdict = {None: "?", False: "noise", True: f"{change.ratio:.2f}x"}[change.significant]
    old, new = summary_text(change.metric, change.old), summary_text(change.metric, change.new)
    return f"{verdict:>6}  {change.case}: {change.metric} {old} -> {new}"
