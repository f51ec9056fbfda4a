"""Reports of runs as files, and the figures that are compared."""

import json
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

from kev.errors import KevError

_NEEDED = ("image", "ending", "paging", "phases", "pages_loaded", "image_pages", "ram_pages", "violations", "page_waits", "exits")


class RunFileError(KevError):
    """A file is not the report of a run."""


def read_run(path: Path) -> dict[str, Any]:
    """The report in a file that `kev run --report` wrote. RunFileError if it is anything else."""
    try:
        report = json.loads(path.read_bytes())
    except OSError as error:
        raise RunFileError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RunFileError(f"{path}: not a report of `kev run --report`: {error}") from error
    missing = [name for name in _NEEDED if name not in report] if isinstance(report, dict) else list(_NEEDED)
    if missing:
        raise RunFileError(f"{path}: not a report of `kev run --report`: it has no {missing[0]!r}")
    return dict(report)


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
