"""`kev.named_tuple.NamedTuple` makes what `typing.NamedTuple` makes."""

import copy
import inspect
import pickle
import types
import typing
from collections.abc import Callable
from typing import Any

import pytest

from kev.named_tuple import NamedTuple


class Ours(NamedTuple):
    """Its documentation."""

    x: int
    y: str = "why"

    @property
    def both(self) -> str:
        return f"{self.x}{self.y}"

    def __bool__(self) -> bool:
        return self.x != 0


class Theirs(typing.NamedTuple):
    """Its documentation."""

    x: int
    y: str = "why"

    @property
    def both(self) -> str:
        return f"{self.x}{self.y}"

    def __bool__(self) -> bool:
        return self.x != 0


USES: dict[str, Callable[[Any], object]] = {
    "positional": lambda made: tuple(made(1, "a")),
    "keywords": lambda made: tuple(made(y="a", x=1)),
    "default": lambda made: tuple(made(1)),
    "fields": lambda made: (made(1).x, made(1, "b").y, made._fields, made._field_defaults, made.__match_args__),
    "methods": lambda made: (made(3).both, bool(made(0)), bool(made(1))),
    "text": lambda made: repr(made(1, "a")).partition("(")[1:],
    "equality": lambda made: (made(1) == (1, "why"), made(1) != made(2), hash(made(1)) == hash((1, "why"))),
    "replaced": lambda made: (tuple(made(1)._replace(y="z")), type(made(1)._replace()) is made),
    "made": lambda made: tuple(made._make([1, "a"])),
    "dictionary": lambda made: made(1)._asdict(),
    "pickled": lambda made: pickle.loads(pickle.dumps(made(5))) == made(5) and type(copy.deepcopy(made(5))) is made,
    "signature": lambda made: list(inspect.signature(made).parameters),
    "bases": lambda made: (issubclass(made, tuple), made.__doc__, made.__module__, made.__slots__),
    "hints": typing.get_type_hints,
}
REFUSED: dict[str, Callable[[Any], object]] = {
    "too few": lambda made: made(),
    "too many": lambda made: made(1, 2, 3),
    "unknown": lambda made: made(1, z=3),
    "twice": lambda made: made(1, x=1),
    "attribute": lambda made: setattr(made(1), "x", 2),
    "new attribute": lambda made: setattr(made(1), "z", 2),
    "replaced": lambda made: made(1)._replace(z=1),
    "made": lambda made: made._make([1]),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_what_it_does_is_the_same(use: Callable[[Any], object]) -> None:
    assert use(Ours) == use(Theirs)


@pytest.mark.parametrize("use", REFUSED.values(), ids=REFUSED)
def test_what_it_refuses_is_the_same(use: Callable[[Any], object]) -> None:
    with pytest.raises((TypeError, ValueError, AttributeError)) as theirs:
        use(Theirs)
    with pytest.raises(theirs.type):
        use(Ours)


def described(fields: dict[str, object], **members: object) -> Any:
    """The class with these fields."""
    return types.new_class("Made", (NamedTuple,), exec_body=lambda body: body.update(__annotations__=fields, **members))


def test_a_field_without_a_default_cannot_follow_one_that_has_one() -> None:
    with pytest.raises(TypeError, match="x, y"):
        described({"x": int, "y": int}, x=1)


def test_there_can_be_any_number_of_fields() -> None:
    for number in range(30):
        made = described({f"field{index}": int for index in range(number)})
        assert tuple(made(*range(number))) == tuple(range(number))
