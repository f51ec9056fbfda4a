"""Commands that work for long, and what signals end of them."""

import signal
from typing import Final

import click

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""They end the work, with what was found until then."""


def say_stopped(number: int, tried: str) -> int:
    """Says on stderr what a signal has ended; returns the exit code, as shells have it."""
    click.echo(f"kev: stopped by {signal.Signals(number).name}: {tried}", err=True)
    return 128 + number
