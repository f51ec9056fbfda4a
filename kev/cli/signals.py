"""Commands that work for long, and what signals end of them."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from kev.cli.interrupts import SIGNALS
from kev.work.stopping import Stopped, signals_noted


def say_stopped(number: int, tried: str) -> int:
    """Says on stderr what a signal has ended; returns the exit code, as shells have it."""
    click.echo(f"kev: stopped by {signal.Signals(number).name}: {tried}", err=True)
    return 128 + number


@contextmanager
def ended_by_signals(tried: Callable[[], str]) -> Iterator[None]:
    """The body looks for signals by `kev.work.stopping.check`; after one, `tried` says what it has come to, and the command ends.

    An exception out of a handler would be lost where the emulated CPU calls back.
    """
    try:
        with signals_noted(SIGNALS):
            yield
    except Stopped as stopped:
        click.get_current_context().exit(say_stopped(stopped.signal, tried()))
