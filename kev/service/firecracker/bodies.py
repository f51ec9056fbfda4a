"""The JSON of requests, held against the shape that each must have, and refused in the words of the serde library.

Positions in the text are left out. A kind is a function that is given a value and returns what is made of it, or raises Mismatch.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from kev.service.firecracker.faults import Fault
from kev.user_files import read_user_file

Kind: TypeAlias = Callable[[Any], Any]

_INTEGER_BITS: Final = 64


class Mismatch(Exception):
    """It is no JSON, or not of the kind that it must be."""


def parse_body(body: bytes, kind: Kind) -> Any:
    """What is in the body of a request. Fault if it is not of this kind."""
    try:
        return kind(_json(body))
    except Mismatch as error:
        raise bad_body(str(error)) from error


def bad_body(why: str) -> Fault:
    """The body of a request is not what it must be."""
    return Fault(f"An error occurred when deserializing the json body of a request: {why}.")


def parse_file(path: str, most: int, kind: Kind) -> Any:
    """What is in a file of at most `most` bytes. Fault if it cannot be read, or is not of this kind."""
    data = read_user_file(path, most, Fault)
    try:
        return kind(_json(data))
    except Mismatch as error:
        raise Fault(f"{path}: {error}") from error


def text(value: Any) -> str:
    taken: str = _of_type(value, str, "a string")
    return taken


def flag(value: Any) -> bool:
    taken: bool = _of_type(value, bool, "a boolean")
    return taken


def unsigned(bits: int = _INTEGER_BITS) -> Kind:
    """An integer of so many bits."""
    name = "usize" if bits == _INTEGER_BITS else f"u{bits}"

    def take(value: Any) -> int:
        if type(value) is not int:
            raise _wrong_type(value, name)
        if not 0 <= value < 1 << bits:
            raise Mismatch(f"invalid value: integer `{value}`, expected {name}")
        return value

    return take


def variant(*names: str, any_case: bool = False) -> Kind:
    """One of these words."""

    def take(value: Any) -> str:
        word = _of_type(value, str, "a string")
        for name in names:
            if word == name or (any_case and word.lower() == name.lower()):
                return name
        raise Mismatch(f"unknown variant `{word}`, {_expected(names)}")

    return take


def each(kind: Kind) -> Kind:
    def take(value: Any) -> list[Any]:
        return [kind(item) for item in _of_type(value, list, "a sequence")]

    return take


def record(
    name: str,
    needed: Mapping[str, Kind],
    possible: Mapping[str, Kind] | None = None,
    make: Callable[..., Any] = dict,
    *,
    others: bool = False,
) -> Kind:
    """An object with the fields that are `needed`, perhaps those that are `possible`, and no `others` unless that is said.

    `make` is given them as keywords. A field that is only possible may be null, and is as if it was not there.
    """
    kinds = {**needed, **(possible or {})}

    def take(value: Any) -> Any:
        fields = _of_type(value, _Object, f"struct {name}")
        for field in fields:
            if field not in kinds and not others:
                raise Mismatch(f"unknown field `{field}`, {_expected(tuple(kinds))}")
        if fields.twice in kinds:
            raise Mismatch(f"duplicate field `{fields.twice}`")
        for field in needed:
            if field not in fields:
                raise Mismatch(f"missing field `{field}`")
        given = {field: kinds[field](item) for field, item in fields.items() if field in needed or _is_said(field, item, kinds)}
        return make(**given)

    return take


class _Object(dict[str, Any]):
    """As it was in the text."""

    twice: str | None = None
    """A name that it has more than once."""


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    found = _Object()
    for name, value in pairs:
        if name in found:
            found.twice = name
        found[name] = value
    return found


def _json(body: bytes) -> Any:
    try:
        return json.loads(body, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise Mismatch(f"{error.msg} at line {error.lineno} column {error.colno}") from error
    except RecursionError:
        raise Mismatch("recursion limit exceeded") from None
    except ValueError as error:  # no Unicode, no number, or one of too many digits
        raise Mismatch(str(error)) from error


def _refuse_constant(word: str) -> float:
    raise ValueError(f"expected value, not {word}")


def _is_said(field: str, value: Any, kinds: Mapping[str, Kind]) -> bool:
    return value is not None and field in kinds


def _of_type(value: Any, kind: type[Any], expected: str) -> Any:
    if type(value) is not kind:
        raise _wrong_type(value, expected)
    return value


def _wrong_type(value: Any, expected: str) -> Mismatch:
    match value:
        case None:
            found = "null"
        case bool():
            found = f"boolean `{str(value).lower()}`"
        case int():
            found = f"integer `{value}`"
        case float():
            found = f"floating point `{value}`"
        case str():
            found = f"string {json.dumps(value)}"
        case list():
            found = "sequence"
        case _:
            found = "map"
    return Mismatch(f"invalid type: {found}, expected {expected}")


def _expected(names: tuple[str, ...]) -> str:
    quoted = [f"`{name}`" for name in names]
    if len(quoted) > 2:
        return f"expected one of {', '.join(quoted)}"
    return f"expected {' or '.join(quoted)}" if quoted else "there are no fields"
