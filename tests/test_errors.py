"""Messages of errors: one line, whatever is in it."""

from hypothesis import given
from hypothesis import strategies as st

from kev.errors import LONGEST_MESSAGE, KevError, one_line, printable, shortened


@given(st.text(max_size=3000))
def test_a_message_is_one_line_that_prints_and_has_an_end(text: str) -> None:
    message = str(KevError(text))
    assert message.isprintable()
    assert len(message) <= LONGEST_MESSAGE


@given(st.text(st.characters(exclude_categories=["C", "Z"]), max_size=200))
def test_what_prints_and_is_short_stays_as_it_is(text: str) -> None:
    assert one_line(text) == text


def test_control_characters_are_escaped() -> None:
    assert printable("a\x1b[31m\r\n\u202e\x7f\udcff b") == "a\\x1b[31m\\r\\n\\u202e\\x7f\\udcff b"


def test_long_values_lose_their_middle_and_what_is_around_them_stays() -> None:
    message = one_line(f"kernel: {'x' * 5000}: cannot be opened")
    assert message.startswith("kernel: xxx")
    assert message.endswith("xxx: cannot be opened")
    assert "x...x" in message
    assert len(message) < 300
    assert shortened("0123456789", 9) == "012...789"
    assert len(one_line("many words " * 1_000_000)) == LONGEST_MESSAGE
