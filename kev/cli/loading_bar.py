"""A progress bar while an image is loaded."""

import time
from collections.abc import Callable
from typing import Any, Final

_LONG: Final = 0.5
"""Seconds that loading may take without a word."""


class LoadingBar:
    """A progress bar on a terminal's stderr, of what takes longer than a moment."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock: Final = clock
        self._bar: Any = None
        self._began: float | None = None

    def __call__(self, done: int, total: int) -> None:
        now = self._clock()
        if self._began is None:
            self._began = now
        if self._bar is None and done < total and now - self._began >= _LONG:
            self._bar = self._show(total)
        if self._bar is not None:
            self._bar.update(done - self._bar.pos)
            if done == total:
                self.close()

    def close(self) -> None:
        """Leaves the terminal as it was, also if the loading was not finished."""
        if self._bar is not None:
            self._bar.render_finish()
            self._bar = None

    def _show(self, total: int) -> Any:
        import sys

        import click

        from kev.cli.terminals import has_cursor

        return click.progressbar(length=total, label="kev: loading", file=sys.stderr, hidden=not has_cursor(sys.stderr))
