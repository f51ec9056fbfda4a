"""Groups of commands that are imported when they are called."""

import importlib
from collections.abc import Mapping
from typing import Any, Final

import click

from kev.errors import nearest_of


class LazyGroup(click.Group):
    """The commands of a package: each is `command` of the module of its name."""

    def __init__(self, *arguments: Any, package: str, summaries: Mapping[str, str], **settings: Any) -> None:
        """`summaries` has a line about each command, by name."""
        super().__init__(*arguments, **settings)
        self._package: Final = package
        self.summaries: Final = summaries

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.summaries:
            return None
        command = importlib.import_module(f"{self._package}.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.summaries and not name.startswith("-"):
            nearest = nearest_of(name, list(self.summaries))
            hint = "" if nearest is None else f" Is it {nearest!r}?"
            ctx.fail(f"{ctx.command_path} has no command {name!r}.{hint} It has {', '.join(self.summaries)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self.summaries.items()))
