"""Results as tables for other programs: CSV, and Parquet by pyarrow. A row for each value, of single runs where they are known."""

import csv
import io
import os
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from kev.measure.errors import BenchError
from kev.measure.result import BenchResult, CaseResult
from kev.observe.output import write_bytes, write_text

if TYPE_CHECKING:
    from types import ModuleType

Columns: TypeAlias = dict[str, list[Any]]
_FIXED: Final = ("scenario", "metric", "round", "run", "value")


def columns(result: BenchResult) -> Columns:
    """By name, each as long as there are values.

    `scenario`; the parameters of all cases as texts, None where a case has no such; `metric`, whose name ends in its unit; `round`
    and `run` within it, from 0 on, `run` None where only the round's value is known; and `value`.
    """
    parameters = list(dict.fromkeys(name for case in result.cases for name in case.parameters))
    names = [_FIXED[0], *parameters, *_FIXED[1:]]
    rows = list(_rows(result, parameters))
    return {name: [row[index] for row in rows] for index, name in enumerate(names)}


def _rows(result: BenchResult, parameters: list[str]) -> Iterator[tuple[Any, ...]]:
    for case in result.cases:
        known = [None if name not in case.parameters else str(case.parameters[name]) for name in parameters]
        for metric, number, run, value in _values(case):
            yield (case.scenario, *known, metric, number, run, float(value))


def _values(case: CaseResult) -> Iterator[tuple[str, int, int | None, float]]:
    for metric, summary in case.metrics.items():
        if summary.runs:
            for number, runs in enumerate(summary.runs):
                yield from ((metric, number, run, value) for run, value in zip(count(), runs))
        else:
            yield from ((metric, number, None, value) for number, value in enumerate(summary.values))


def write_csv(result: BenchResult, file: str | os.PathLike[str]) -> None:
    """Writes the table as CSV (RFC 4180) with a line of names; what is None is empty. OutputError."""
    table = columns(result)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    write_text(file, text.getvalue())


def write_parquet(result: BenchResult, file: str | os.PathLike[str]) -> None:
    """Writes the table as Parquet, with the environment in its metadata. BenchError if pyarrow is missing; OutputError."""
    arrow, parquet = _arrow(file)
    table = arrow.table(columns(result)).replace_schema_metadata(result.environment)
    data = io.BytesIO()
    parquet.write_table(table, data)
    write_bytes(file, data.getvalue())


def check_parquet(file: str | os.PathLike[str]) -> None:
    """BenchError if it cannot be written: better before the first round than after the last."""
    _arrow(file)


def _arrow(file: str | os.PathLike[str]) -> "tuple[ModuleType, ModuleType]":
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise BenchError(f"{os.fspath(file)}: Parquet needs pyarrow: `pip install kev-hypervisor[parquet]`") from error
    return pyarrow, pyarrow.parquet
