"""The `kev` command: its subcommands are imported when they are called."""

import importlib
import sys
from typing import Any, Final

import click

from kev.errors import KevError
from kev.machine.ending import EXIT_CODE_INTERRUPTED
from kev.version import __version__

_COMMANDS: Final = {
    "run": "Launch a guest kernel, loading each page when it is first touched.",
    "inspect": "Say how an image would be launched, and what would be refused.",
    "guests": "List the guests on the root file system.",
    "fs": "Make, list and read SIMPLEFS images.",
    "race": "Find races of guests and of the pager, and replay them exactly.",
    "bench": "Measure how soon guests boot, and compare measurements.",
    "report": "Make one HTML page of the reports of runs.",
}
"""Name and summary; the command itself is `kev.cli.<name>.command`."""


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"kev.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KevError as error:
            click.echo(f"kev: {error}", err=True)
            sys.exit(2)
        except KeyboardInterrupt:
            click.echo("kev: interrupted", err=True)
            sys.exit(EXIT_CODE_INTERRUPTED)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kev", message="%(prog)s %(version)s")
def kev() -> None:
    """A lazy-paging hypervisor: launches a guest kernel without loading it."""
