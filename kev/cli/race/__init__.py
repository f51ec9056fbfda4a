"""`kev race`: looks for races, and shows them. Its commands are imported when they are called."""

from typing import TYPE_CHECKING, Any, Final

import click

from kev.cli.lazy_group import LazyGroup
from kev.errors import nearest_of
from kev.race.errors import RaceError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_COMMANDS: Final = {
    "explore": "Try schedule after schedule, until one fails.",
    "detect": "Find accesses that nothing orders, even where the outcome is right.",
    "replay": "Make a run once more, from its token.",
    "shrink": "Make a failure as small as can be.",
    "show": "Tell a run step by step, and draw it.",
}


class _RaceGroup(LazyGroup):
    _misspelt: str | None = None
    """The command that may have been meant by what was taken for a target."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """`kev race GUEST` is `kev race explore GUEST`."""
        if args and args[0] not in self.summaries and args[0] not in ctx.help_option_names:
            self._misspelt = nearest_of(args[0], list(self.summaries))
            args = ["explore", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list["CompletionItem"]:
        """Commands, and what `explore` takes."""
        from kev.cli.completion import complete_image

        found = super().shell_complete(ctx, incomplete)
        return found if incomplete.startswith("-") else [*found, *complete_image(ctx, click.Argument(["target"]), incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            if self._misspelt is None:
                raise
            raise click.UsageError(f"Is it `kev race {self._misspelt}`? {error.format_message()}", error.ctx) from error
        except RaceError as error:
            from kev.race.catalogue import CatalogueError

            if self._misspelt is None or not isinstance(error, CatalogueError):
                raise
            raise CatalogueError(f"is it `kev race {self._misspelt}`? {error}") from error


@click.group(cls=_RaceGroup, package="kev.cli.race", summaries=_COMMANDS)
def command() -> None:
    """Find races of guests and of the pager, and replay them exactly.

    `kev race GUEST --smp 4` is short for `kev race explore GUEST --smp 4`.
    """
