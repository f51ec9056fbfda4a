"""`kev race`: looks for races, and shows them. Its commands are imported when they are called."""

from typing import Final

import click

from kev.cli.lazy_group import LazyGroup

_COMMANDS: Final = {
    "explore": "Try schedule after schedule, until one fails.",
    "detect": "Find accesses that nothing orders, even where the outcome is right.",
    "replay": "Make a run once more, from its token.",
    "shrink": "Make a failure as small as can be.",
    "show": "Tell a run step by step, and draw it.",
}


class _RaceGroup(LazyGroup):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """`kev race GUEST` is `kev race explore GUEST`."""
        if args and args[0] not in self.summaries and args[0] not in ctx.help_option_names:
            args = ["explore", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_RaceGroup, package="kev.cli.race", summaries=_COMMANDS)
def command() -> None:
    """Find races of guests and of the pager, and replay them exactly.

    `kev race GUEST --smp 4` is short for `kev race explore GUEST --smp 4`.
    """
