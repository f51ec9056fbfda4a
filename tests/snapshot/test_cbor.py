"""Plain data as bytes, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.snapshot.cbor import MOST_DEPTH, CborError, decode, encode
from tests.snapshot.files import PLAIN


@given(PLAIN)
def test_what_is_encoded_is_decoded_as_the_same(value: object) -> None:
    decoded = decode(encode(value))  # type: ignore[arg-type]
    assert repr(decoded) == repr(value) or decoded == value
    assert encode(decoded) == encode(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (23, "17"),
        (24, "1818"),
        (1000000, "1a000f4240"),
        (18446744073709551615, "1bffffffffffffffff"),
        (-1, "20"),
        (-1000, "3903e7"),
        (False, "f4"),
        (True, "f5"),
        (None, "f6"),
        (b"\1\2\3\4", "4401020304"),
        ("IETF", "6449455446"),
        ([1, [2, 3], [4, 5]], "8301820203820405"),
        ({"a": 1, "b": [2, 3]}, "a26161016162820203"),
    ],
)
def test_the_examples_of_the_standard_are_met(value: object, encoded: str) -> None:
    """RFC 8949, appendix A."""
    assert encode(value).hex() == encoded  # type: ignore[arg-type]


@given(st.binary(max_size=64))
def test_any_bytes_are_refused_or_are_what_would_be_written(data: bytes) -> None:
    try:
        value = decode(data)
    except CborError:
        return
    assert encode(value) == data


@pytest.mark.parametrize("data", ["1801", "fb3ff0000000000000", "c0", "9f01ff", "a2616201616101", "a10101", "5b7fffffffffffffff"])
def test_other_encodings_and_kinds_are_refused(data: str) -> None:
    with pytest.raises(CborError):
        decode(bytes.fromhex(data))


def test_depth_is_limited() -> None:
    with pytest.raises(CborError, match=f"more than {MOST_DEPTH} levels"):
        decode(b"\x81" * 100_000 + b"\0")


@pytest.mark.parametrize("value", [1.5, {1: 2}, 1 << 64, (1,), bytearray(1)])
def test_what_is_no_plain_data_is_not_written(value: object) -> None:
    with pytest.raises(ValueError, match="plain data"):
        encode(value)  # type: ignore[arg-type]
