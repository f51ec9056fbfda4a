"""JSON that comes from users: parsed, and held against the shape that it must have.

A shape is a function that is given a value, and what the value is called, and raises `Mismatch` if it is no such value. What no
shape looks into is never walked through, so how deep it is nested makes no difference.
"""

import json
import os
from collections.abc import Callable, Mapping
from itertools import chain
from types import NoneType
from typing import Any, Final, Self, TypeAlias

from kev.errors import KevError
from kev.user_files import read_user_file

_SHOWN: Final = 40
"""Characters of a wrong value that a message has."""
LARGEST: Final = (1 << 53) - 1
"""The largest integer that every reader of JSON takes for the same (RFC 8259, section 6)."""

Shape: TypeAlias = Callable[[Any, str], None]


class _NoNumber(ValueError):
    """What Python reads as a number, and JSON does not have."""


class _Twice(ValueError):
    """An object has two members of one name: readers of JSON take either (RFC 8259, section 4)."""


class Mismatch(Exception):
    """A value has not the shape that it must have."""

    def __init__(self, message: str, where: str = "", value: object = None, what: str = "") -> None:
        super().__init__(message)
        self.where = where
        """The place of the value, such as `modules[0].path`; empty for all of it."""
        self.value = value
        self.what = what
        """What it must be, if that can be said so."""

    @classmethod
    def of(cls, where: str, value: object, what: str) -> Self:
        """`value`, which is at `where`, must be `what`."""
        return cls(f"{where or 'it'} is {_shown(value)}: it must be {what}", where, value, what)


def read_user_json(
    file: str | os.PathLike[str], most: int, error: type[KevError], what: str, shape: Shape, *, waits: bool = False
) -> Any:
    """What is in a JSON file of at most `most` bytes. `error`, which says `what` the file is not, if it has another shape.

    `waits` as for `read_user_file`.
    """
    return parse_user_json(read_user_file(file, most, error, waits=waits), os.fspath(file), error, what, shape)


def parse_user_json(text: str | bytes, name: str, error: type[KevError], what: str, shape: Shape, *, typed: bool = False) -> Any:
    """The same of JSON that was read already. `name` is what messages call it.

    `typed`: a person may have written it, and no object may have a member twice.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object if typed else None)
    except RecursionError:
        raise error(f"{name}: not {what}: it is nested too deep") from None
    except json.JSONDecodeError as reason:
        where = f"no JSON at line {reason.lineno}, column {reason.colno}: {reason.msg[:1].lower()}{reason.msg[1:]}"
        raise error(f"{name}: not {what}: {where if reason.doc.strip() else 'it is empty'}") from reason
    except UnicodeDecodeError as reason:
        raise error(f"{name}: not {what}: no JSON, which is text: {reason.reason} at byte {reason.start}") from reason
    except (_NoNumber, _Twice) as reason:
        raise error(f"{name}: not {what}: {reason}") from reason
    except ValueError as reason:  # more digits than Python reads
        raise error(f"{name}: not {what}: a number in it has too many digits") from reason
    try:
        shape(value, "")
    except Mismatch as reason:
        raise error(f"{name}: not {what}: {reason}") from reason
    return value


def integer(low: int = 0, high: int = LARGEST) -> Shape:
    """From `low` to `high`, both included."""

    def check(value: Any, where: str) -> None:
        if type(value) is not int or not low <= value <= high:
            raise Mismatch.of(where, value, f"an integer from {low} to {high}")

    return check


def number(low: float, high: float) -> Shape:
    """A number from `low` to `high`, both included."""

    def check(value: Any, where: str) -> None:
        if type(value) not in (int, float) or not low <= value <= high:
            raise Mismatch.of(where, value, f"a number from {low:g} to {high:g}")

    return check


def text(value: Any, where: str) -> None:
    if type(value) is not str:
        raise Mismatch.of(where, value, "a text")


def flag(value: Any, where: str) -> None:
    if type(value) is not bool:
        raise Mismatch.of(where, value, "true or false")


def constant(expected: Any) -> Shape:
    """This value, and no other."""

    def check(value: Any, where: str) -> None:
        if type(value) is not type(expected) or value != expected:
            raise Mismatch.of(where, value, repr(expected))

    return check


def one_of(*words: str) -> Shape:
    def check(value: Any, where: str) -> None:
        if type(value) is not str or value not in words:
            raise Mismatch.of(where, value, f"one of {', '.join(words)}")

    return check


def scalar(value: Any, where: str) -> None:
    """A text, a number, true, false or null."""
    if type(value) not in (str, int, float, bool, NoneType) or (type(value) is int and abs(value) > LARGEST):
        raise Mismatch.of(where, value, "a text, or a number that is not too large")


def optional(shape: Shape) -> Shape:
    """That, or null."""

    def check(value: Any, where: str) -> None:
        if value is not None:
            shape(value, where)

    return check


def each(shape: Shape, least: int = 0) -> Shape:
    """A list of `least` or more of those."""

    def check(value: Any, where: str) -> None:
        if type(value) is not list or len(value) < least:
            raise Mismatch.of(where, value, "a list" if not least else f"a list of {least} or more")
        for index, item in enumerate(value):
            shape(item, f"{where}[{index}]")

    return check


def integers(low: int, high: int) -> Shape:
    """A list of integers from `low` to `high`, both included. Quick, however many there are."""

    def check(value: Any, where: str) -> None:
        if type(value) is list and (not value or (set(map(type, value)) == {int} and low <= min(value) and max(value) <= high)):
            return
        each(integer(low, high))(value, where)
        raise Mismatch.of(where, value, f"a list of integers from {low} to {high}")

    return check


def named(shape: Shape) -> Shape:
    """An object with any names, whose values are those."""

    def check(value: Any, where: str) -> None:
        if type(value) is not dict:
            raise Mismatch.of(where, value, "an object")
        for name, item in value.items():
            shape(item, _member(where, name))

    return check


def record(needed: Mapping[str, Shape], possible: Mapping[str, Shape] | None = None) -> Shape:
    """An object with the members that are `needed`, and perhaps those that are `possible`. Others are not looked at."""
    possible = possible or {}

    def check(value: Any, where: str) -> None:
        if type(value) is not dict:
            raise Mismatch.of(where, value, "an object")
        for name in needed:
            if name not in value:
                raise Mismatch(f"{where or 'it'} has no {name!r}")
        for name, shape in chain(needed.items(), possible.items()):
            if name in value:
                shape(value[name], _member(where, name))

    return check


def columns(shapes: Mapping[str, Shape]) -> Shape:
    """An object with a list for each name, all equally long."""
    lists = record({name: each(shape) for name, shape in shapes.items()})

    def check(value: Any, where: str) -> None:
        lists(value, where)
        lengths = {name: len(value[name]) for name in shapes}
        first = next(iter(lengths))
        for name, length in lengths.items():
            if length != lengths[first]:
                raise Mismatch.of(_member(where, name), value[name], f"as long as {first!r}, which has {lengths[first]}")

    return check


def _member(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _refuse_constant(name: str) -> float:
    raise _NoNumber(f"{name} is no number of JSON")


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        names = [name for name, _ in members]
        twice = next(name for name in found if names.count(name) > 1)
        raise _Twice(f"{_shown(twice)} is there twice in one object")
    return found


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return f"an object of {len(value)}" if isinstance(value, dict) else f"a list of {len(value)}"
    try:
        shown = json.dumps(value)
    except ValueError:  # more digits than Python writes
        return "a number of very many digits"
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."
