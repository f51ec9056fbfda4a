"""Results as lines for a person."""

from collections.abc import Iterator, Sequence

from kev.measure.case import is_time
from kev.measure.compare import Change
from kev.measure.result import BenchResult, CaseResult
from kev.measure.summary import Summary
from kev.measure.targets import Target


def table(result: BenchResult, targets: Sequence[Target]) -> Iterator[str]:
    """All figures: medians, and behind each time the larger distance to an end of its 95 % interval."""
    yield "  ".join(f"{name} {value}" for name, value in result.environment.items())
    yield f"medians of {result.rounds} rounds, each the best of its short runs; in brackets their 95 % intervals"
    for scenario in dict.fromkeys(case.scenario for case in result.cases):
        yield ""
        yield from _scenario(result.scenario(scenario))
    yield ""
    for case in result.cases:
        if case.command:
            yield f"{case.parameters['what']}: {' '.join(case.command)}"
    for target in targets:
        yield f"{'met   ' if target.met else 'MISSED'}  {target}"


def _scenario(cases: Sequence[CaseResult]) -> Iterator[str]:
    metrics = list(dict.fromkeys(metric for case in cases for metric in case.metrics))
    header = [cases[0].scenario, *cases[0].parameters.keys(), *metrics]
    rows = [["", *map(str, case.parameters.values()), *(_cell(case, metric) for metric in metrics)] for case in cases]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in [header, *rows]:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _cell(case: CaseResult, metric: str) -> str:
    summary = case.metrics.get(metric)
    return "" if summary is None else summary_text(metric, summary)


def summary_text(metric: str, summary: Summary) -> str:
    """A time with its interval; a count without."""
    if is_time(metric):
        return f"{summary.median:.2f} [{summary.low:.2f}-{summary.high:.2f}]"
    return f"{summary.median:,.0f}"


def change_text(change: Change) -> str:
    """A change in a line: by how much, and whether that is more than noise."""
    verdict = f"{change.ratio:.2f}x" if change.significant else "noise"
    old, new = summary_text(change.metric, change.old), summary_text(change.metric, change.new)
    return f"{verdict:>6}  {change.case}: {change.metric} {old} -> {new}"
