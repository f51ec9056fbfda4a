"""`kev race replay`: the same run once more."""

import os
import subprocess
import sys
import time

import click

from kev.cli.race.printing import EXIT_CODE_FAILED, counted
from kev.race.strategy.replay import ReplayScheduler
from kev.race.targets import find_subject
from kev.race.testing import REPLAY
from kev.race.token import Token


@click.command
@click.argument("token")
@click.option("--times", type=click.IntRange(min=1), default=1, show_default=True, help="Repeat it, and compare.")
@click.pass_context
def command(context: click.Context, token: str, times: int) -> None:
    """Make the run of TOKEN, which may be a file that holds one, once more to the letter.

    The exit code is 1 if it fails, as it did when the token was made, and 0 if it ends well. Tokens of pytest's race tests run that
    test.
    """
    wanted = Token.read(token)
    if wanted.identity.kind == "test":
        context.exit(_run_test(wanted))
    subject = find_subject(wanted.identity)
    began = time.perf_counter()
    outcomes = [subject.replay(ReplayScheduler(wanted.schedule)) for _ in range(times)]
    took = (time.perf_counter() - began) / times
    first = outcomes[0]
    same = sum(outcome.history == first.history for outcome in outcomes)
    click.echo("it ends well" if first.failure is None else f"{first.failure.oracle}: {first.failure.message}")
    length = f"{first.steps:,} steps, {counted(wanted.schedule.switches, 'switch', 'switches')}, {took * 1e3:.1f} ms"
    click.echo(f"{length}; the same {same} times out of {times}")
    if first.failure is not None or same < times:
        context.exit(EXIT_CODE_FAILED)


def _run_test(token: Token) -> int:
    environment = {**os.environ, REPLAY: str(token)}
    return subprocess.run([sys.executable, "-m", "pytest", token.identity.target], env=environment, check=False).returncode
