"""What the commands of `kev race` print of a failure."""

import json
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Final

import click

from kev.observe.output import is_standard_output, write_text
from kev.race.store import FailureStore, StoreError
from kev.race.stories.picture import as_svg
from kev.race.stories.story import Story
from kev.race.stories.words import in_words
from kev.race.token import LONG, Token

EXIT_CODE_FAILED: Final = 1


def command_line(verb: str, token: Token, store: FailureStore) -> str:
    """The command that takes up a failure. A token too long for a command line goes into a file, if one can be written."""
    text = str(token)
    if len(text) > LONG:
        with suppress(StoreError):
            text = shlex.quote(str(store.keep_token(token)))
    pager = f" --pager {shlex.quote(token.identity.target)}" if token.identity.kind == "trace" and token.identity.target else ""
    return f"kev race {verb} {text}{pager}"


def picture_file(kept: Path | None) -> Path | None:
    """Where the picture of a failure goes that is kept in the file `kept`."""
    return None if kept is None else kept.with_suffix(".svg")


def print_story(story: Story, picture: Path | None, *, as_json: bool = False, aside: bool = False) -> None:
    """`aside`: in words it is told on stderr, as it is if the picture is standard output."""
    aside = aside or is_standard_output(picture)
    click.echo(json.dumps(story.as_dict(), indent=2) + "\n" if as_json else in_words(story), nl=False, err=aside)
    if picture is not None:
        write_text(picture, as_svg(story))
        if not is_standard_output(picture):
            click.echo(f"picture: {picture}", err=as_json or aside)
