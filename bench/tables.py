"""Results as a table for people and as JSON for programs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from bench.measurement import Measurement, Result

_NAME_WIDTH: Final = 56
_HEADING: Final = f"{'':{_NAME_WIDTH}} {'median':>10} {'min':>10} {'max':>10}  {'unit':10} target"


def host_lines(host: Mapping[str, str]) -> str:
    return "\n".join(f"{name:10} {value}" for name, value in host.items())


def table(title: str, results: Iterable[Result]) -> str:
    """`title` and a line for each result."""
    return "\n".join([title, _HEADING, *map(_line, results)])


def document(host: Mapping[str, str], results: Mapping[str, Sequence[Result]]) -> dict[str, Any]:
    """Everything, by benchmark."""
    return {"host": dict(host), "benchmarks": {name: [result.as_dict() for result in list_] for name, list_ in results.items()}}


def _line(result: Result) -> str:
    name = f"{result.name:{_NAME_WIDTH}}"
    if not isinstance(result, Measurement):
        return f"{name} skipped: {result.reason}"
    numbers = " ".join(f"{_number(value):>10}" for value in (result.median, result.least, result.most))
    return f"{name} {numbers}  {result.unit:10} {_verdict(result)}".rstrip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2f}"


def _verdict(measurement: Measurement) -> str:
    if measurement.met is None:
        return ""
    target = f"at most {measurement.limit:g}" if measurement.floor is None else f"at least {measurement.floor:,}"
    return f"{target}: {'met' if measurement.met else 'MISSED'}"
