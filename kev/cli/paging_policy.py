"""`--paging`: the paging policy of a run, and the files that go with it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from kev.errors import KevError
from kev.pager.policy import Around, Eager, PagingPolicy, PolicyError

_FORMS: Final = "lazy, eager, around=N, record=FILE or prefetch=FILE"
_LONG: Final = 0.5
"""Seconds that loading may take without a word."""


class PagingFileError(KevError):
    """A file named with `--paging` cannot be read."""


@contextmanager
def paging_policy(text: str) -> Iterator[PagingPolicy]:
    """The policy that `text` describes. If all goes well, what it recorded is written when the run is over. KevError."""
    kind, _, value = text.partition("=")
    if text == "lazy":
        yield PagingPolicy()
    elif text == "eager":
        yield from _loading()
    elif kind == "around" and value:
        yield Around(_page_count(text, value))
    elif kind == "record" and value:
        yield from _recording(value)
    elif kind == "prefetch" and value:
        yield _prefetch(value)
    else:
        raise PolicyError(f"--paging {text!r}: it must be {_FORMS}")


def _loading() -> Iterator[PagingPolicy]:
    bar = LoadingBar()
    try:
        yield Eager(bar)
    finally:
        bar.close()


def _page_count(text: str, value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise PolicyError(f"--paging {text!r}: {value!r} is not a number of pages")
    return int(value)


def _recording(file: str) -> Iterator[PagingPolicy]:
    from kev.cli.output import check_writable, write_text
    from kev.pager.record import Record

    check_writable(file)
    policy = Record()
    yield policy
    write_text(file, policy.working_set.to_json())


def _prefetch(name: str) -> PagingPolicy:
    from kev.pager.prefetch import Prefetch
    from kev.pager.working_set import WorkingSet

    try:
        with open(name, "rb") as file:
            text = file.read()
    except OSError as error:
        raise PagingFileError(f"{name}: cannot be read: {error.strerror}") from error
    return Prefetch(WorkingSet.from_json(text, name))


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

        return click.progressbar(length=total, label="kev: loading", file=sys.stderr, hidden=not sys.stderr.isatty())
