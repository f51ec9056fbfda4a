"""`kev race show`: a run in words and as a picture."""

from pathlib import Path

import click

from kev.cli.race.printing import print_story
from kev.observe.output import check_writable
from kev.race.targets import find_subject
from kev.race.token import Token


@click.command
@click.argument("token")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Draw it, too.")
def command(token: str, svg: Path | None) -> None:
    """Tell the run of TOKEN step by step."""
    wanted = Token.read(token)
    if svg is not None:
        check_writable(svg)
    print_story(find_subject(wanted.identity).tell(wanted.schedule), svg)
