"""What the commands of `kev race` print of a failure."""

from pathlib import Path
from typing import Final

import click

from kev.observe.output import write_text
from kev.race.store import DEFAULT
from kev.race.stories.picture import as_svg
from kev.race.stories.story import Story
from kev.race.stories.words import in_words
from kev.race.token import LONG, Token

EXIT_CODE_FAILED: Final = 1


def counted(number: int, noun: str, plural: str) -> str:
    """`1 switch`, `2 switches`."""
    return f"{number:,} {noun if number == 1 else plural}"


def command_line(verb: str, token: Token) -> str:
    """The command that takes up a failure. A token too long for a command line goes into a file."""
    text = str(token)
    if len(text) > LONG:
        file = DEFAULT / f"{text[-16:]}.token"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, text + "\n")
        text = str(file)
    return f"kev race {verb} {text}"


def picture_file(kept: Path | None) -> Path | None:
    """Where the picture of a failure goes that is kept in the file `kept`."""
    return None if kept is None else kept.with_suffix(".svg")


def print_story(story: Story, picture: Path | None) -> None:
    click.echo(in_words(story), nl=False)
    if picture is not None:
        write_text(picture, as_svg(story))
        click.echo(f"picture: {picture}")
