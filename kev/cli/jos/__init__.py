"""`kev jos`: hosts of the JOS VMM."""

from typing import Final

import click

from kev.cli.lazy_group import LazyGroup

_COMMANDS: Final = {"run": "Run several guests under one host."}


@click.group(cls=LazyGroup, package="kev.cli.jos", summaries=_COMMANDS)
def command() -> None:
    """Run several guests of the JOS VMM in one process: they take turns with their host's file system."""
