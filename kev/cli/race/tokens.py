"""What the commands that take a token have in common."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_PAGER: Final = click.option(
    "--pager", metavar="MODULE:NAME", help="The pager that the token is about, if it is not kev's own: it is imported."
)
_STATE: Final = click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where failures are kept.  [default: $KEV_RACE_STATE, or kev/race in $XDG_STATE_HOME]",
)


def pager_option(function: F) -> F:
    return _PAGER(function)


def state_option(function: F) -> F:
    return _STATE(function)
