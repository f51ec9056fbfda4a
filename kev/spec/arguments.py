"""A description as words of a command line."""

from collections.abc import Iterator
from typing import Any

from kev.spec.fields import FIELDS, Arity, Field
from kev.spec.machine_spec import MachineSpec


def to_arguments(spec: MachineSpec) -> list[str]:
    given = spec.given()
    words = [word for field in FIELDS if field.name in given for word in _words(field, given[field.name])]
    if not spec.image:
        return words
    return [spec.image, *words] if not spec.image.startswith("-") else [*words, "--", spec.image]


def from_options(options: dict[str, Any]) -> MachineSpec:
    """The description of what was given on a command line, by the names of fields. SpecError names the option."""
    labels = {"image": "IMAGE"} | {field.name: field.option for field in FIELDS}
    return MachineSpec.of({name: value for name, value in options.items() if value != ()}, labels.__getitem__)


def _words(field: Field, value: Any) -> Iterator[str]:
    if field.arity is Arity.FLAG:
        yield field.option if value else field.denial
        return
    for item in value if field.arity is Arity.MANY else (value,):
        yield field.option
        yield field.text(item)
