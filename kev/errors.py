"""What can go wrong through no fault of this program."""

from collections.abc import Iterable
from typing import Any, Final

LONGEST_MESSAGE: Final = 1000
"""Characters. What is longer is shortened in the middle, and so are words of more than `LONGEST_WORD` in it."""
LONGEST_WORD: Final = 200
_LONGEST_NAME: Final = 60
"""Of those that are compared with others."""
_ALIKE: Final = 0.6


class KevError(Exception):
    """An error that a user can cause. Its message names the thing, its value and the limit; the CLI prints it and exits with 2.

    Whatever names and values are in it, it is one line without control characters (`one_line`).
    """

    context: str = ""
    """What it happened for, which stands behind the rest of the message: whoever raised it need not know."""
    report: Any = None
    """The `RunReport` of a run that was over when it happened, as when a file could not be written then."""

    def __str__(self) -> str:
        message = super().__str__()
        return one_line(f"{message}; {self.context}" if self.context else message)


def one_line(text: str) -> str:
    """`text` with what does not print escaped as in Python, and not longer than `LONGEST_MESSAGE`."""
    if len(text) > LONGEST_MESSAGE:
        text = shortened(text, 20 * LONGEST_MESSAGE)
    text = printable(text)
    if len(text) > LONGEST_MESSAGE:
        text = shortened(" ".join(shortened(word, LONGEST_WORD) for word in text.split(" ")), LONGEST_MESSAGE)
    return text


def printable(text: str) -> str:
    """`text` with what does not print, such as control characters and line ends, escaped as in Python."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def shortened(text: str, most: int) -> str:
    """`text`, without its middle if it has more than `most` characters."""
    if len(text) <= most:
        return text
    head = (most - 3) // 2
    return f"{text[:head]}...{text[len(text) - (most - 3 - head) :]}"


def nearest_of(name: str, known: Iterable[str], alike: float = _ALIKE) -> str | None:
    """Which of the names that are `known` a person may have meant, in letters of either case.

    `alike`: how much they have in common at least, from 0 to 1.
    """
    from difflib import get_close_matches

    if len(name) > _LONGEST_NAME:
        return None
    by_lower = {other.lower(): other for other in known}
    return next((by_lower[found] for found in get_close_matches(name.lower(), by_lower, 1, alike)), None)


def known_names(name: str, known: Iterable[str]) -> str:
    """What a message says behind a name that there is not: which is the nearest, if one is near, and which there are."""
    names = list(known)
    nearest = nearest_of(name, names)
    listed = ", ".join(names)
    return f"there are {listed}" if nearest is None else f"is it {nearest!r}? There are {listed}"
