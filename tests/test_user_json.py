"""JSON of users: what is read, and what is refused in a line."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.errors import KevError
from kev.user_files import read_user_file
from kev.user_json import (
    columns,
    constant,
    each,
    flag,
    integer,
    integers,
    named,
    number,
    optional,
    parse_user_json,
    read_user_json,
    record,
    scalar,
    text,
)

SHAPE = record(
    {
        "format": constant("it 1"),
        "count": integer(0, 9),
        "ratio": optional(number(0, 1)),
        "pages": integers(0, 99),
        "of": named(scalar),
        "table": columns({"a": integer(), "b": flag}),
    },
    {"names": each(text, 1)},
)
GOOD: dict[str, Any] = {
    "format": "it 1",
    "count": 3,
    "ratio": 0.5,
    "pages": [1, 2],
    "of": {"x": None},
    "table": {"a": [1], "b": [True]},
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def parse(data: str | bytes) -> Any:
    return parse_user_json(data, "file", KevError, "one", SHAPE)


def refusal(data: str) -> str | None:
    """What is said of data that is refused."""
    try:
        parse(data)
    except KevError as error:
        return str(error)
    return None


def test_what_has_the_shape_is_read_whatever_else_is_in_it() -> None:
    others: list[dict[str, Any]] = [{}, {"names": ["x"]}, {"ratio": None}, {"other": [[[{}]]]}]
    for more in others:
        assert parse(json.dumps(GOOD | more)) == GOOD | more


@given(st.sampled_from(sorted(GOOD)), VALUES)
def test_any_other_value_is_refused_in_a_line_that_says_where(name: str, value: Any) -> None:
    message = refusal(json.dumps(GOOD | {name: value}))
    assert message is None or (message.startswith("file: not one: ") and message.isprintable())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "it 2"}, "file: not one: format is \"it 2\": it must be 'it 1'"),
        ({"count": True}, "file: not one: count is true: it must be an integer from 0 to 9"),
        ({"count": 10**30}, "file: not one: count is 1000000000000000000000000000000: it must be an integer from 0 to 9"),
        ({"ratio": "x"}, 'file: not one: ratio is "x": it must be a number from 0 to 1'),
        ({"pages": [1, 100]}, "file: not one: pages[1] is 100: it must be an integer from 0 to 99"),
        ({"pages": [1.0]}, "file: not one: pages[0] is 1.0: it must be an integer from 0 to 99"),
        ({"pages": {}}, "file: not one: pages is an object of 0: it must be a list"),
        ({"of": {"x": []}}, "file: not one: of.x is a list of 0: it must be a text, or a number that is not too large"),
        ({"table": {"a": [1]}}, "file: not one: table has no 'b'"),
        ({"table": {"a": [1], "b": []}}, "file: not one: table.b is a list of 0: it must be as long as 'a', which has 1"),
        ({"names": []}, "file: not one: names is a list of 0: it must be a list of 1 or more"),
        ({"names": ["\x1b[31m\n" * 99]}, None),
    ],
)
def test_what_is_wrong_is_named_with_its_value_and_what_it_must_be(change: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert parse(json.dumps(GOOD | change)) == GOOD | change
        return
    with pytest.raises(KevError) as caught:
        parse(json.dumps(GOOD | change))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "data", ["", "{", "[" * 200_000, '{"count": ' + "9" * 5000 + "}", "NaN", '{"ratio": Infinity}', b"\xff", "[]", "null", '"\x1b"']
)
def test_what_is_no_json_or_no_object_is_refused(data: str | bytes) -> None:
    with pytest.raises(KevError, match=r"^file: not one: .{1,120}$"):
        parse(data)


def test_a_file_is_read_up_to_a_size(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text(json.dumps(GOOD))
    size = file.stat().st_size
    assert read_user_json(file, size, KevError, "one", SHAPE) == GOOD
    with pytest.raises(KevError, match=r"is too large: there may be 0 KiB of it$"):
        read_user_json(file, size - 1, KevError, "one", SHAPE)


@pytest.mark.parametrize("name", ["fifo", "folder", "nothing", "/dev/zero", "/dev/full", "a\0b", "x\x1b[31m\n"])
def test_what_is_no_regular_file_is_refused_and_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    Path("folder").mkdir()
    with pytest.raises(KevError, match=r": cannot be read: ") as caught:
        read_user_file(name, 100, KevError)
    assert str(caught.value).isprintable()


def test_of_a_file_that_begins_with_something_else_only_the_beginning_is_read(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"something else".ljust(8 << 20))
    assert len(read_user_file(file, 16 << 20, KevError, b"magic")) < 2 << 20
    file.write_bytes(b"magic".ljust(8 << 20))
    assert len(read_user_file(file, 16 << 20, KevError, b"magic")) == 8 << 20


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"image = 3", "no JSON at line 1, column 1: expecting value"),
        (b'{\n"a": }', "no JSON at line 2, column 6: expecting value"),
        (b"\x7fELF\x02\x01\x01\xb7", "no JSON, which is text: invalid start byte at byte 7"),
        (b'{"ratio": NaN}', "NaN is no number of JSON"),
    ],
)
def test_what_is_no_json_is_said_as_such(data: bytes, problem: str) -> None:
    with pytest.raises(KevError) as caught:
        parse(data)
    assert str(caught.value) == f"file: not one: {problem}"
