"""`kev ept`: extended page tables, built, shown and checked. Its commands are imported when they are called."""

from typing import Final

import click

from kev.cli.lazy_group import LazyGroup

_COMMANDS: Final = {
    "build": "Build the tables of a whole machine, and write them to a file.",
    "dump": "List what is mapped, range by range, and draw it.",
    "walk": "Follow the entries for one guest-physical page.",
    "audit": "Name every wrong entry.",
    "diff": "Say in what two tables differ.",
    "size": "Say how much memory the tables take.",
}


@click.group(cls=LazyGroup, package="kev.cli.ept", summaries=_COMMANDS)
def command() -> None:
    """Build, show and check extended page tables.

    They are those in a file that `kev ept build` wrote, those of a snapshot, those of a guest that is run for it (--run IMAGE), or
    those of a whole machine, built by rule (--memory SIZE).
    """
