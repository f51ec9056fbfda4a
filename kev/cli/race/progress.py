"""The line that tells how far an exploration is."""

import sys
import time
from typing import Final

import click

from kev.cli.numbers import counted
from kev.cli.terminals import has_cursor, in_a_row
from kev.observe.progress import progress_seconds
from kev.race.explore import Exploration
from kev.race.verify import HealthyReport

_EVERY: Final = 0.2  # seconds; elsewhere than on a terminal, where a line stays, more
_EVERY_LOGGED: Final = 10.0


class ProgressLine:
    """On stderr; on a terminal it is overwritten again and again, and removed by `clear`."""

    def __init__(self) -> None:
        self._terminal: Final = has_cursor(sys.stderr)
        self._every: Final = _EVERY if self._terminal else progress_seconds() or _EVERY_LOGGED
        self._next = time.monotonic() + self._every

    def explored(self, exploration: Exploration) -> None:
        if self._is_due():
            self._write(summary(exploration))

    def survived(self, report: HealthyReport) -> None:
        if self._is_due():
            of, failures = counted(report.programs, "program", "programs"), counted(len(report.failures), "failure", "failures")
            self._write(f"{report.runs:,} of {report.wanted:,} runs of {of}, {failures}")

    def done(self, runs: int, what: str) -> None:
        """So many `runs` were made; `what` happened to them."""
        if self._is_due():
            self._write(f"{counted(runs, 'run', 'runs')} {what}")

    def note(self, text: str) -> None:
        """Something worth a line now."""
        if self._terminal:
            self._write(text)

    def clear(self) -> None:
        if self._terminal:
            click.echo("\r\x1b[K", err=True, nl=False)

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._every
        return True

    def _write(self, text: str) -> None:
        if self._terminal:
            click.echo(f"\r\x1b[K{in_a_row(text, sys.stderr)}", err=True, nl=False)
        else:
            click.echo(text, err=True)


def summary(exploration: Exploration) -> str:
    """What was tried so far, in a line."""
    rate = exploration.runs / exploration.seconds if exploration.seconds else 0
    covered = "" if not exploration.coverage else f" ({exploration.coverage:.0%} of what is likely)"
    kinds = len(exploration.kinds)
    failures = "no failure" if not kinds else "a failure" if kinds == 1 else f"{kinds} distinct failures"
    runs = counted(exploration.runs, "run", "runs")
    schedules = counted(len(exploration.schedules), "distinct schedule", "distinct schedules")
    interleavings = counted(len(exploration.interleavings), "interleaving", "interleavings")
    return f"{runs}, {schedules}, {interleavings}{covered}, {failures}, {per_second(rate)}"


def per_second(rate: float) -> str:
    """`1,093 runs a second`, `0.2 runs a second`, `1 run a second`."""
    return counted(round(rate), "run", "runs") + " a second" if rate >= 0.95 else f"{rate:.1g} runs a second"
