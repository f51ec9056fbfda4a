"""`kev race`: looks for races, and shows them. Its commands are imported when they are called."""

import importlib
import os
import sys
from typing import Final

import click

_COMMANDS: Final = {
    "explore": "Try schedule after schedule, until one fails.",
    "replay": "Make a run once more, from its token.",
    "shrink": "Make a failure as small as can be.",
    "show": "Tell a run step by step, and draw it.",
}


class _RaceGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"kev.cli.race.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """`kev race GUEST` is `kev race explore GUEST`."""
        if args and args[0] not in _COMMANDS and args[0] not in ctx.help_option_names:
            args = ["explore", *args]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_RaceGroup)
def command() -> None:
    """Find races of guests and of the pager, and replay them exactly.

    `kev race GUEST --smp 4` is short for `kev race explore GUEST --smp 4`.
    """
    # Pagers under test are imported from the working directory, as `python -m` would.
    sys.path.insert(0, os.getcwd())
