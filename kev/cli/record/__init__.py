"""`kev record`: working sets, which `kev run --paging record=FILE` writes."""

from typing import Final

import click

from kev.cli.lazy_group import LazyGroup

_COMMANDS: Final = {"merge": "Make one working set of several."}


@click.group(cls=LazyGroup, package="kev.cli.record", summaries=_COMMANDS)
def command() -> None:
    """Work with the working sets that `kev run --paging record=FILE` writes."""
