"""What parts of a machine save of themselves: plain data, field by field, which is checked when it is loaded again.

Plain data is None, bool, int of up to 64 bits, str, bytes, and lists of those, and dictionaries with strings for keys. A part says
once which fields it has, as `Fields`: that is what is saved, and what is accepted.
"""

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from operator import attrgetter
from typing import Any, Final, TypeAlias

from kev.errors import KevError
from kev.named_tuple import NamedTuple

Plain: TypeAlias = "bool | int | str | bytes | list[Plain] | dict[str, Plain] | None"
State: TypeAlias = dict[str, Plain]

SNAPSHOT_MAGIC: Final = b"\x89kev\r\n\x1a\n"
"""How a file begins in which a machine was saved. As PNG's, it survives no transfer that changes line ends or bit 7."""

_SHOWN: Final = 60
"""Characters of a wrong value that an error shows."""


class StateError(KevError):
    """A saved state that no part of this kind can have: names the part, the field, its value and what it must be."""

    def __init__(self, owner: str, field: str, value: object, what: str) -> None:
        shown = repr(value)
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        super().__init__(f"{owner}: saved {field} is {shown}: it must be {what}")


class Kind(NamedTuple):
    """The values that a field can have."""

    what: str
    """For errors."""
    accepts: Callable[[Any], bool]
    """Whether plain data is such a value."""
    save: Callable[[Any], Any]
    """Plain data of the value; a copy, if the value can change."""
    load: Callable[[Any], Any]
    """The value of plain data that is accepted; a copy likewise."""
    accepts_all: Callable[[list[Any]], bool] | None = None
    """Whether all items of a list are such values, where that is known sooner than of one after the other."""


def _same(value: Any) -> Any:
    return value


def integers(low: int, high: int) -> Kind:
    """From `low` to `high`, both included."""
    return Kind(
        f"an integer from {low} to {high}",
        lambda value: type(value) is int and low <= value <= high,
        _same,
        _same,
        lambda values: not values or ({int}.issuperset(map(type, values)) and low <= min(values) and max(values) <= high),
    )


def bits(width: int) -> Kind:
    """Unsigned integers of `width` bits."""
    return integers(0, (1 << width) - 1)


def octets(length: int) -> Kind:
    """A bytearray of `length` bytes; saved as bytes."""
    return Kind(f"{length} bytes", lambda value: type(value) is bytes and len(value) == length, bytes, bytearray)


def wide(length: int, *, signed: bool = False) -> Kind:
    """Integers of `length` bytes, which may be more than the 64 bits of plain data's; saved as bytes, little-endian."""
    return Kind(
        f"{length} bytes",
        lambda value: type(value) is bytes and len(value) == length,
        lambda value: value.to_bytes(length, "little", signed=signed),
        lambda value: int.from_bytes(value, "little", signed=signed),
    )


def optional(kind: Kind) -> Kind:
    """Those of `kind`, or None."""
    return Kind(
        f"{kind.what}, or None",
        lambda value: value is None or kind.accepts(value),
        lambda value: None if value is None else kind.save(value),
        lambda value: None if value is None else kind.load(value),
    )


def listed(kind: Kind, count: int | None = None) -> Kind:
    """A list of `count` values of `kind`, by default of any number."""
    accepts_all = kind.accepts_all or (lambda value: all(map(kind.accepts, value)))
    return Kind(
        f"a list, {'each' if count is None else f'{count} times'} {kind.what}",
        lambda value: type(value) is list and count in (None, len(value)) and accepts_all(value),
        list if kind.save is _same else lambda value: [kind.save(item) for item in value],
        list if kind.load is _same else lambda value: [kind.load(item) for item in value],
    )


def tuple_of(kind: Kind, count: int | None = None) -> Kind:
    """A tuple of `count` values of `kind`, by default of any number; saved as a list."""
    values = listed(kind, count)
    return values._replace(load=lambda items: tuple(map(kind.load, items)))


def record(make: Callable[..., Any], *kinds: Kind, values: Callable[[Any], Iterable[Any]] = tuple) -> Kind:
    """What `make` makes of values of these kinds, and `values` takes apart again; saved as a list. A named tuple, for one."""

    def accepts(value: Any) -> bool:
        return (
            type(value) is list
            and len(value) == len(kinds)
            and all(kind.accepts(item) for kind, item in zip(kinds, value, strict=True))
        )

    return Kind(
        f"a list of {', '.join(kind.what for kind in kinds)}",
        accepts,
        lambda value: [kind.save(item) for kind, item in zip(kinds, values(value), strict=True)],
        lambda value: make(*(kind.load(item) for kind, item in zip(kinds, value, strict=True))),
    )


def one_of(kind: type[Enum]) -> Kind:
    """The members of an enumeration; saved by their names."""
    names = kind.__members__
    return Kind(
        f"one of {', '.join(names)}",
        lambda value: type(value) is str and value in names,
        lambda value: value.name,
        names.__getitem__,
    )


def converted(kind: Kind, save: Callable[[Any], Any], load: Callable[[Any], Any]) -> Kind:
    """What `save` makes one of `kind`, and `load` makes the value again."""
    return Kind(kind.what, kind.accepts, save, load)


FLAG: Final = Kind("True or False", lambda value: type(value) is bool, _same, _same)
TEXT: Final = Kind("a text", lambda value: type(value) is str, _same, _same)
TIME: Final = bits(64)
"""Nanoseconds of guest time since the machine was switched on."""
BYTES: Final = Kind("bytes", lambda value: type(value) is bytes, bytes, bytearray)
"""A bytearray of any length; saved as bytes."""
NUMBERS: Final = converted(BYTES, bytes, deque)
"""A deque of integers below 256; saved as bytes."""
WORDS: Final = converted(
    BYTES, lambda words: array("I", words).tobytes(), lambda data: array("I", data[: len(data) // 4 * 4]).tolist()
)
"""A list of integers of 32 bits; saved as bytes, little-endian."""
PART: Final = Kind("a dictionary", lambda value: type(value) is dict, _same, _same)
"""The state of a part that saves and loads itself."""


def check_count(owner: str, field: str, values: list[Any], count: int) -> None:
    """StateError unless there are `count` values, one for each part that the machine has."""
    if len(values) != count:
        raise StateError(owner, field, values, f"a list of {count}")


class Fields:
    """The fields of one kind of object: attributes, which are saved under their names without an underscore at the beginning."""

    __slots__ = ("_attributes", "_converted", "_names", "_parts", "_read", "_saved")

    def __init__(self, attributes: Mapping[str, Kind], **parts: Kind) -> None:
        """`parts` are what is saved beside the attributes."""
        self._attributes: Final = [(attribute, attribute.lstrip("_"), kind) for attribute, kind in attributes.items()]
        self._parts: Final = parts
        self._read: Final = attrgetter(*attributes) if len(attributes) > 1 else None
        self._saved: Final = tuple(name for _, name, _ in self._attributes)
        self._converted: Final = [(name, kind.save) for _, name, kind in self._attributes if kind.save is not _same]
        self._names: Final = {name for _, name, _ in self._attributes} | parts.keys()

    def save(self, owner: object, **parts: object) -> State:
        """The state of `owner`. A part that is not given is an error of the program."""
        state: State
        if self._read is None:
            state = {name: kind.save(getattr(owner, attribute)) for attribute, name, kind in self._attributes}
        else:
            state = dict(zip(self._saved, self._read(owner), strict=True))
            for name, save in self._converted:
                state[name] = save(state[name])
        for name, kind in self._parts.items():
            state[name] = kind.save(parts[name])
        return state

    def load(self, owner: object, called: str, state: Mapping[str, Plain]) -> dict[str, Any]:
        """Sets the attributes of `owner`, which is `called` so in errors, and returns the parts.

        StateError if a field is missing, unknown or no value of its kind; nothing is set then.
        """
        self._check_names(called, state)
        values: list[tuple[str, Any]] = []
        for attribute, name, (what, accepts, _, load, _) in self._attributes:
            value: Any = state[name]
            if not accepts(value):
                raise StateError(called, name, value, what)
            values.append((attribute, value if load is _same else load(value)))
        parts = {name: _load(kind, called, name, state[name]) for name, kind in self._parts.items()}
        for attribute, value in values:
            setattr(owner, attribute, value)
        return parts

    def _check_names(self, called: str, state: Mapping[str, Plain]) -> None:
        if type(state) is not dict:
            raise StateError(called, "state", state, "a dictionary")
        for name in state.keys() ^ self._names:
            if name in self._names:
                raise StateError(called, name, "missing", "there")
            raise StateError(called, str(name), state[name], "left out: there is no such field")


class Stateless:
    """Is saved and loaded with what it belongs to, and has no state of its own."""

    __slots__ = ()

    def reset(self) -> None:
        pass

    def save(self) -> State:
        return {}

    def load(self, called: str, state: Mapping[str, Plain]) -> None:
        """StateError if there is anything in `state`."""
        _NO_FIELDS.load(self, called, state)


_NO_FIELDS: Final = Fields({})


def _load(kind: Kind, called: str, name: str, value: Plain) -> Any:
    if not kind.accepts(value):
        raise StateError(called, name, value, kind.what)
    return kind.load(value)
