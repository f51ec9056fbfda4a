"""Makes the run of a token again, and compares."""

import signal
import time

import click

from kev.cli.numbers import counted
from kev.race.guest.machine import ENDLESS
from kev.race.strategy.replay import ReplayScheduler
from kev.race.targets import find_subject
from kev.race.token import Token
from kev.work.stopping import signals_noted


def replay(token: Token, times: int, pager: str | None) -> bool:
    """Says what came of it; whether it ended well, and the same way every time."""
    with signals_noted((signal.SIGINT, signal.SIGTERM)):
        subject = find_subject(token, pager)
        began = time.perf_counter()
        outcomes = [subject.replay(ReplayScheduler(token.schedule)) for _ in range(times)]
        took = (time.perf_counter() - began) / times
        first = outcomes[0]
        same = sum(outcome.history == first.history for outcome in outcomes)
        failure = first.failure
        if failure is not None and failure.oracle == ENDLESS:
            failure = subject.tell(token.schedule).failure or failure  # with who waits for what
    click.echo("it ends well" if failure is None else f"{failure.oracle}: {failure.message}")
    length = f"{first.steps:,} steps, {counted(token.schedule.switches, 'switch', 'switches')}, {took * 1e3:.1f} ms"
    click.echo(f"{length}; the same {same} times out of {times}")
    return failure is None and same == times
