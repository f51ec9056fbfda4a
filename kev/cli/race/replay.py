"""`kev race replay`: the same run once more."""

from typing import TYPE_CHECKING, Final

import click

from kev.cli.counts import Count
from kev.cli.race.tokens import pager_option

if TYPE_CHECKING:
    from pathlib import Path

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
    from kev.race.errors import TokenError
    from kev.race.token import Token

    wanted = Token.read(token)
    if wanted.identity.kind == "test":
        context.exit(_run_test(wanted.identity.target, str(wanted), times, test))
    if test is not None:
        raise TokenError(f"--test {test}: it has no meaning here: the token is not about a test")
    from kev.cli.race.replaying import replay

    if not replay(wanted, times, pager):
        context.exit(_EXIT_CODE_FAILED)


def _run_test(target: str, token: str, times: int, named: str | None) -> int:
    import os
    import subprocess
    import sys

    from kev.race.errors import TokenError
    from kev.race.replay_variable import REPLAY, TIMES
    from kev.work.stoppable import start_stoppably

    if named != target:
        raise TokenError(f"the token is about the test {target!r}, which is run only if you name it by --test")
    file, separator, rest = target.partition("::")
    root = _root_of(file)
    if root is None:
        raise TokenError(f"the token is about the test {target!r}, and there is no {file} here, or in a folder above")
    node = os.path.relpath(root / file) + separator + rest
    command = [sys.executable, "-m", "pytest", "--rootdir", str(root), "--", node]
    start_stoppably()
    return subprocess.run(command, env={**os.environ, REPLAY: token, TIMES: str(times)}, check=False).returncode


def _root_of(file: str) -> "Path | None":
    """The folder from which pytest has called a test's file by this name: this one, or the nearest above that has it."""
    from pathlib import Path

    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / file).is_file()), None)
