"""What a person may have meant by an option that there is not."""

from collections.abc import Sequence
from typing import Final

import click

from kev.errors import nearest_of

_ELSEWHERE: Final = {
    "kernel": "the image is named without an option: kev run FILE",
    "hda": "say --disk FILE,ide",
    "drive": "say --disk FILE,virtio",
    "bios": "say --firmware FILE",
    "nographic": "leave it out: the serial line is standard output",
    "serial": "leave it out: the serial line is standard output",
    "s": "say --gdb 1234",
    "S": "say --gdb 1234 --wait",
}
"""Options of QEMU that are called otherwise here, or that nobody needs."""
_WORDS: Final = f"{__name__}.words"


def note_words(context: click.Context, words: Sequence[str]) -> None:
    """Keeps the words of a command line for `meant`, also for the commands within a command."""
    context.meta[_WORDS] = list(words)


def meant(error: click.NoSuchOption) -> str:
    """What to type instead of a word with one hyphen that click took for letters, as `-smp`; empty if nobody knows."""
    context = error.ctx
    if context is None or error.option_name.startswith("--"):
        return ""
    letter, words = error.option_name[1:], context.meta.get(_WORDS, ())
    name = next((word[1:].partition("=")[0] for word in words if word[:1] == "-" != word[1:2] and letter in word), letter)
    where = f" in -{name}" if name != letter else ""
    if name in _ELSEWHERE:
        return f"{where}: {_ELSEWHERE[name]}"
    options = [option for parameter in context.command.params for option in parameter.opts if option.startswith("--")]
    nearest = nearest_of(f"--{name}", options) if len(name) > 1 else None
    return "" if nearest is None else f"{where}: is it {nearest}?"
