"""Makes the run of a token again, and compares."""

import time

import click

from kev.cli.numbers import counted
from kev.cli.race.progress import ProgressLine
from kev.cli.signals import ended_by_signals
from kev.race.guest.machine import ENDLESS
from kev.race.outcome import Outcome
from kev.race.strategy.replay import ReplayScheduler
from kev.race.targets import find_subject
from kev.race.token import Token
from kev.work.stopping import check


def replay(token: Token, times: int, pager: str | None) -> bool:
    """Says what came of it; whether it ended well, and the same way every time."""
    outcomes: list[Outcome] = []
    line = ProgressLine()
    with ended_by_signals(lambda: f"the run was made {len(outcomes):,} of {times:,} times"):
        subject = find_subject(token, pager)
        began = time.perf_counter()
        try:
            for _ in range(times):
                check()
                outcomes.append(subject.replay(ReplayScheduler(token.schedule)))
                line.done(len(outcomes), "made again")
        finally:
            line.clear()
        took = (time.perf_counter() - began) / times
        first = outcomes[0]
        same = sum(outcome.history == first.history for outcome in outcomes)
        failure = first.failure
        if failure is not None and failure.oracle == ENDLESS:
            failure = subject.tell(token.schedule).failure or failure  # with who waits for what
    click.echo("it ends well" if failure is None else f"{failure.oracle}: {failure.message}")
    length = f"{first.steps:,} steps, {counted(token.schedule.switches, 'switch', 'switches')}, {took * 1e3:.1f} ms"
    click.echo(f"{length}; the same {counted(same, 'time', 'times')} out of {times:,}")
    return failure is None and same == times
