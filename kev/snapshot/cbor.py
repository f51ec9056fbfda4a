"""Plain data as bytes: CBOR (RFC 8949), as far as plain data needs it, in its deterministic encoding (section 4.2.1).

Everything has one encoding: heads are as short as can be, lengths are definite, and keys of maps are in the order of their bytes.
Anything else is refused, so that what is read can only have been written like that.
"""

import struct
from typing import Any, Final

from kev.state import Plain

MOST_DEPTH: Final = 64
"""How many lists and dictionaries may lie within each other."""

_UNSIGNED: Final = 0
_NEGATIVE: Final = 1
_BYTES: Final = 2
_TEXT: Final = 3
_ARRAY: Final = 4
_MAP: Final = 5
_SIMPLE: Final = 7
_LONG_HEADS: Final = {24: struct.Struct(">B"), 25: struct.Struct(">H"), 26: struct.Struct(">I"), 27: struct.Struct(">Q")}
_SIMPLE_VALUES: Final = {20: False, 21: True, 22: None}
_SIMPLE_NUMBERS: Final = {value: number for number, value in _SIMPLE_VALUES.items()}


class CborError(ValueError):
    """Bytes are no plain data in this encoding."""


def encode(value: Plain) -> bytes:
    """ValueError if `value` is not plain data."""
    parts: list[bytes] = []
    _encode(value, parts)
    return b"".join(parts)


def decode(data: bytes) -> Plain:
    """CborError unless `data` is what `encode` makes of plain data, nested at most `MOST_DEPTH` deep."""
    value, end = _decode(data, 0, 0)
    if end != len(data):
        raise CborError(f"{len(data) - end} bytes follow what is encoded")
    return value


def _encode(value: Any, parts: list[bytes]) -> None:
    kind = type(value)
    if value is None or kind is bool:
        parts.append(_head(_SIMPLE, _SIMPLE_NUMBERS[value]))
    elif kind is int:
        parts.append(_head(_UNSIGNED, value) if value >= 0 else _head(_NEGATIVE, -1 - value))
    elif kind is bytes:
        parts += (_head(_BYTES, len(value)), value)
    elif kind is str:
        encoded = value.encode("utf-8", "surrogatepass")
        parts += (_head(_TEXT, len(encoded)), encoded)
    elif kind is list:
        parts.append(_head(_ARRAY, len(value)))
        for item in value:
            _encode(item, parts)
    elif kind is dict:
        parts.append(_head(_MAP, len(value)))
        for key, item in sorted((encode(key), item) for key, item in _texts(value)):
            parts.append(key)
            _encode(item, parts)
    else:
        raise ValueError(f"{value!r} is no plain data")


def _texts(value: dict[Any, Any]) -> list[tuple[str, Any]]:
    for key in value:
        if type(key) is not str:
            raise ValueError(f"{key!r} is no key of plain data")
    return list(value.items())


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes((major << 5 | number,))
    for short, layout in _LONG_HEADS.items():
        if number < 1 << 8 * layout.size:
            return bytes((major << 5 | short,)) + layout.pack(number)
    raise ValueError(f"an integer of {number.bit_length()} bits is no plain data: the most are 64")


def _decode(data: bytes, at: int, depth: int) -> tuple[Plain, int]:
    """The value at an offset, and where it ends."""
    major, number, at = _read_head(data, at)
    if major == _UNSIGNED:
        return number, at
    if major == _NEGATIVE:
        return -1 - number, at
    if major == _SIMPLE:
        if number not in _SIMPLE_VALUES:
            raise CborError(f"a simple value {number} at offset {at - 1:#x}")
        return _SIMPLE_VALUES[number], at
    # Every item of a list takes a byte or more, so that no length can ask for more than the data has.
    if number > len(data) - at:
        raise CborError(f"a length of {number} at offset {at:#x}, where {len(data) - at} bytes are left")
    if major == _BYTES:
        return data[at : at + number], at + number
    if major == _TEXT:
        return _text(data, at, number), at + number
    if depth == MOST_DEPTH:
        raise CborError(f"more than {MOST_DEPTH} levels")
    if major == _ARRAY:
        return _decode_list(data, at, number, depth + 1)
    if major == _MAP:
        return _decode_map(data, at, number, depth + 1)
    raise CborError(f"major type {major} at offset {at - 1:#x}")


def _read_head(data: bytes, at: int) -> tuple[int, int, int]:
    if at >= len(data):
        raise CborError("it ends too early")
    major, short = data[at] >> 5, data[at] & 0x1F
    at += 1
    if short < 24:
        return major, short, at
    layout = _LONG_HEADS.get(short)
    if layout is None or at + layout.size > len(data):
        raise CborError(f"a head that does not end at offset {at - 1:#x}")
    (number,) = layout.unpack_from(data, at)
    if number < (24 if layout.size == 1 else 1 << 4 * layout.size) or major == _SIMPLE:
        raise CborError(f"a head that is longer than it has to be at offset {at - 1:#x}")
    return major, number, at + layout.size


def _text(data: bytes, at: int, length: int) -> str:
    try:
        return data[at : at + length].decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise CborError(f"a text that is not UTF-8 at offset {at:#x}") from error


def _decode_list(data: bytes, at: int, count: int, depth: int) -> tuple[Plain, int]:
    items: list[Plain] = []
    for _ in range(count):
        item, at = _decode(data, at, depth)
        items.append(item)
    return items, at


def _decode_map(data: bytes, at: int, count: int, depth: int) -> tuple[Plain, int]:
    items: dict[str, Plain] = {}
    before = b""
    for _ in range(count):
        start = at
        key, at = _decode(data, at, depth)
        if type(key) is not str or data[start:at] <= before:
            raise CborError(f"a key that is no text, or not in order, at offset {start:#x}")
        before = data[start:at]
        items[key], at = _decode(data, at, depth)
    return items, at
