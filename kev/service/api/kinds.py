"""Values that clients give: each kind is a shape, which is checked, and a JSON schema, which is published."""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from kev import user_json
from kev.errors import nearest_of
from kev.user_json import Mismatch, Shape

Schema = dict[str, Any]
NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""What machines and snapshots can be called."""
_MOST_LABELS: Final = 32
_LONGEST_LABEL: Final = 256


class Kind(NamedTuple):
    """A kind of value."""

    shape: Shape
    schema: Schema

    def described(self, description: str) -> "Kind":
        return self._replace(schema={**self.schema, "description": description})


class Member(NamedTuple):
    """A member of an object."""

    kind: Kind
    description: str
    required: bool = False
    default: Any = None


def text(pattern: str | None = None, longest: int | None = None) -> Kind:
    schema: Schema = {"type": "string"}
    if pattern is not None:
        schema["pattern"] = pattern
    if longest is not None:
        schema["maxLength"] = longest

    def check(value: Any, where: str) -> None:
        user_json.text(value, where)
        if longest is not None and len(value) > longest:
            raise Mismatch.of(where, value, f"a text of at most {longest} characters")
        if pattern is not None and re.search(pattern, value) is None:
            raise Mismatch.of(where, value, f"a text that matches {pattern}")

    return Kind(check, schema)


def name() -> Kind:
    """What a machine or a snapshot is called. `$` would let a line end stand behind it."""
    return Kind(text(NAME.removesuffix("$") + r"\Z").shape, text(NAME).schema)


def integer(low: int, high: int) -> Kind:
    return Kind(user_json.integer(low, high), {"type": "integer", "minimum": low, "maximum": high})


def number(low: float, high: float) -> Kind:
    return Kind(user_json.number(low, high), {"type": "number", "minimum": low, "maximum": high})


def flag() -> Kind:
    return Kind(user_json.flag, {"type": "boolean"})


def choice(*words: str) -> Kind:
    return Kind(user_json.one_of(*words), {"type": "string", "enum": list(words)})


def labels() -> Kind:
    """Texts by name."""
    word = text(longest=_LONGEST_LABEL)
    values = user_json.named(word.shape)

    def check(value: Any, where: str) -> None:
        values(value, where)
        for label in value:
            if not label or len(label) > _LONGEST_LABEL or "=" in label:
                raise Mismatch.of(where, label, f"labels whose names have 1 to {_LONGEST_LABEL} characters, and no =")
        if len(value) > _MOST_LABELS:
            raise Mismatch.of(where, value, f"at most {_MOST_LABELS} labels")

    schema = {
        "type": "object",
        "propertyNames": {"pattern": f"^[^=]{{1,{_LONGEST_LABEL}}}$"},
        "additionalProperties": word.schema,
        "maxProperties": _MOST_LABELS,
    }
    return Kind(check, schema)


def record(members: Mapping[str, Member]) -> Kind:
    """An object with these members, and no others."""
    needed = [name for name, member in members.items() if member.required]

    def check(value: Any, where: str) -> None:
        if type(value) is not dict:
            raise Mismatch.of(where, value, "an object")
        for name in needed:
            if name not in value:
                raise Mismatch(f"{_inside(where, name)} is missing", _inside(where, name), None, "there")
        for name, item in value.items():
            if name not in members:
                nearest = nearest_of(name, list(members))
                hint = "" if nearest is None else f": is it {nearest!r}?"
                raise Mismatch(f"there is no member {name!r}{hint}", _inside(where, name), item, f"one of {', '.join(members)}")
            members[name].kind.shape(item, _inside(where, name))

    return Kind(check, _object_schema(members, needed))


def answer(**members: Schema) -> Schema:
    """The schema of an object that is answered with: all of its members are there, and there may be more."""
    return {"type": "object", "properties": members, "required": list(members)}


def nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _object_schema(members: Mapping[str, Member], needed: list[str]) -> Schema:
    properties = {}
    for name, member in members.items():
        properties[name] = {**member.kind.schema, "description": member.description}
        if member.default is not None:
            properties[name]["default"] = member.default
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": needed} if needed else schema


def _inside(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
