"""What the table of options is for click."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from kev.cli.completion import complete_image, completion_of
from kev.cli.options import Option
from kev.spec.fields import Arity

C = TypeVar("C", bound=Callable[..., Any])


def add_options(options: Sequence[Option]) -> Callable[[C], C]:
    """A decorator of a command's function, which gets each option by its name: as text, as given."""

    def decorate(function: C) -> C:
        for option in reversed(options):
            function = _option(option)(function)
        return function

    return decorate


image_argument = click.argument("image", required=False, shell_complete=complete_image)
"""A file, the name of a guest, or a URL."""


def _option(option: Option) -> Callable[[C], C]:
    if option.arity is Arity.FLAG:
        long = next(switch for switch in option.switches if switch.startswith("--"))
        if not option.denial:
            return click.option(
                long, option.name, is_flag=True, flag_value=True, default=None, help=option.help, hidden=option.hidden
            )
        return click.option(
            f"{long}/{option.denial}", option.name, is_flag=True, default=None, help=option.help, hidden=option.hidden
        )
    many, metavar = option.arity is Arity.MANY, option.metavar or None
    return click.option(
        *option.switches,
        option.name,
        nargs=option.values,
        multiple=many,
        type=str,
        metavar=metavar,
        help=option.help,
        hidden=option.hidden,
        shell_complete=completion_of(option.name),
    )
