"""`kev race replay`: the same run once more."""

from typing import Final

import click

from kev.cli.counts import Count
from kev.cli.race.tokens import pager_option

_EXIT_CODE_FAILED: Final = 1


@click.command
@click.argument("token")
@click.option("--times", type=Count(min=1), default=1, show_default=True, help="Repeat it, and compare.")
@pager_option
@click.option("--test", metavar="NODEID", help="The test of pytest that the token is about: it is run.")
@click.pass_context
def command(context: click.Context, token: str, times: int, pager: str | None, test: str | None) -> None:
    """Make the run of TOKEN, which may be a file that holds one, once more to the letter.

    The exit code is 1 if it fails, as it did when the token was made, and 0 if it ends well. A token is data: the pager or the test
    that it is about is executed only if you name it, too.
    """
    from kev.race.token import Token

    wanted = Token.read(token)
    if wanted.identity.kind == "test":
        context.exit(_run_test(wanted.identity.target, str(wanted), test))
    from kev.cli.race.replaying import replay

    if not replay(wanted, times, pager):
        context.exit(_EXIT_CODE_FAILED)


def _run_test(target: str, token: str, named: str | None) -> int:
    import os
    import subprocess
    import sys

    from kev.race.errors import TokenError
    from kev.race.replay_variable import REPLAY
    from kev.work.stoppable import start_stoppably

    if named != target:
        raise TokenError(f"the token is about the test {target!r}, which is run only if you name it by --test")
    command = [sys.executable, "-m", "pytest", "--", target]
    start_stoppably()
    return subprocess.run(command, env={**os.environ, REPLAY: token}, check=False).returncode
