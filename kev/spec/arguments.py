"""A description as words of a command line."""

from collections.abc import Iterator, Mapping
from typing import Any

from kev.spec.fields import FIELDS, Arity, Field


def to_arguments(fields: Mapping[str, Any]) -> list[str]:
    """The words for the fields that say something."""
    words = [word for field in FIELDS if field.name in fields for word in _words(field, fields[field.name])]
    image = fields.get("image")
    if not image:
        return words
    return [image, *words] if not image.startswith("-") else [*words, "--", image]


def _words(field: Field, value: Any) -> Iterator[str]:
    if field.arity is Arity.FLAG:
        yield field.option if value else field.denial
        return
    for item in value if field.arity is Arity.MANY else (value,):
        yield field.option
        yield field.text(item)
