"""Exercises: a task, and a check of what a student hands in, which is a text or the name of a file."""

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from kev.errors import KevError

_SEPARATORS: Final = re.compile(r"[\s,]+")
_LONGEST_NUMBER: Final = 20
"""Characters: 2**64 - 1 has as many digits."""


class WrongAnswer(KevError):
    """An answer that is not right yet: says in a line what is wrong with it."""


class Exercise(NamedTuple):
    """One task of a tour."""

    name: str
    task: str
    """What is to be found out or made, in a few sentences."""
    answer: str
    """What is handed in: such as NUMBER, or IMAGE for the name of a file."""
    check: Callable[[str], str]
    """Says what is right about an answer; WrongAnswer, or another KevError, if it is not."""


class Tour(NamedTuple):
    """What one system has taught."""

    name: str
    title: str
    document: str
    """Where it is described, in the source tree."""
    exercises: Sequence[Exercise]


def parse_number(text: str) -> int:
    """Decimal, or hexadecimal behind 0x. WrongAnswer if it is neither."""
    try:
        if len(text) <= _LONGEST_NUMBER:
            return int(text, 0)
    except ValueError:
        pass
    raise WrongAnswer(f"{text!r} is no number such as 4096 or 0x1000")


def parse_numbers(text: str, count: int) -> list[int]:
    """So many numbers, with commas or spaces between them. WrongAnswer."""
    words = split_words(text)
    if len(words) != count:
        raise WrongAnswer(f"{text!r} are {len(words)} numbers, not {count}")
    return [parse_number(word) for word in words]


def split_words(text: str) -> list[str]:
    """What is between commas and spaces."""
    return [word for word in _SEPARATORS.split(text) if word]


def require_numbers(text: str, wanted: Sequence[int], names: Sequence[str]) -> None:
    """WrongAnswer, naming the first number in `text` that is not the one that is wanted."""
    for found, right, name in zip(parse_numbers(text, len(wanted)), wanted, names, strict=True):
        if found != right:
            raise WrongAnswer(f"{name}: {found:#x} ({found:,}) is too {'large' if found > right else 'small'}")
