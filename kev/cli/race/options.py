"""The options of the commands that race guests."""

from collections.abc import Iterable

import click
from click.core import ParameterSource

from kev.cli.options import Option, machine_options
from kev.race.guest.details import REFUSED


def guest_options() -> list[Option]:
    """All that describe a machine, but for what a strategy has of its own. Help names those that there are in a race."""
    return [option._replace(hidden=option.name in REFUSED) for option in machine_options(without=("seed", "timeline"))]


def first_given(context: click.Context, names: Iterable[str]) -> str | None:
    """The first of these parameters that the command line has, by its switch."""
    given = (name for name in names if context.get_parameter_source(name) is ParameterSource.COMMANDLINE)
    parameters = {parameter.name: parameter for parameter in context.command.params}
    return next((parameters[name].opts[0] for name in given), None)
