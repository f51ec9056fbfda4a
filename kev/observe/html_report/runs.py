"""Reports of runs as files, and the figures that are compared."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any, Final

from kev.addressing import MIB
from kev.errors import KevError
from kev.observe.html_report.shape import REPORT
from kev.user_json import read_user_json

LARGEST_FILE: Final = 32 * MIB
"""In bytes: about a quarter of a million violations."""


class RunFileError(KevError):
    """A file is not the report of a run."""


def read_run(path: Path) -> dict[str, Any]:
    """The report in a file that `kev run --report` wrote; a FIFO and standard input are waited for.

    RunFileError if it is anything else, or more than `LARGEST_FILE`.
    """
    report: dict[str, Any] = read_user_json(path, LARGEST_FILE, RunFileError, "a report of `kev run --report`", REPORT, waits=True)
    return report


def labels(paths: Sequence[Path]) -> list[str]:
    """A short name for each file, no two alike."""
    stems = [path.stem for path in paths]
    return [stem if stems.count(stem) == 1 else str(path) for stem, path in zip(stems, paths, strict=True)]


def service_times(report: dict[str, Any]) -> list[float]:
    """How long each violation was serviced, in microseconds, ascending; empty without a timeline."""
    if "timeline" not in report:
        return []
    return sorted(value for value in report["timeline"]["violations"]["service_us"] if value is not None)


def percentile(ascending: Sequence[float], share: float) -> float | None:
    """The least value that so large a share of all does not exceed; None of none."""
    return ascending[max(ceil(share * len(ascending)) - 1, 0)] if ascending else None
