"""Tokens: a failure in one word."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.race.errors import TokenError
from kev.race.schedule import Schedule
from kev.race.subject import Identity
from kev.race.token import Token

TEXTS = st.text(st.characters(exclude_categories=()))
"""With what Python has for bytes of a command line that are no UTF-8."""
SEGMENTS = st.lists(st.tuples(st.integers(0, 63), st.integers(0, 1 << 40)), max_size=50)


@given(TEXTS, TEXTS, TEXTS, SEGMENTS)
def test_a_token_holds_all_there_is_to_know(kind: str, target: str, details: str, segments: list[tuple[int, int]]) -> None:
    token = Token(Identity(kind, target, details), Schedule.of(segments))
    assert Token.parse(str(token)) == token


def test_a_token_of_a_short_schedule_is_short() -> None:
    token = Token(Identity("trace", "", "r0w1/r0/e0"), Schedule.of([(0, 6), (1, 2), (0, 1), (1, 8)]))
    assert str(token) == "kev1-AAV0cmFjZQAKcjB3MS9yMC9lMAQABgECAAEBCFXrJf8"


def test_a_token_can_lie_in_a_file(tmp_path: Path) -> None:
    token = Token(Identity("guest", "lost-update", "smp=2"), Schedule.of([(0, 10_000), (1, 3)]))
    file = tmp_path / "failure.token"
    file.write_text(f"{token}\n")
    assert Token.read(str(file)) == token


@pytest.mark.parametrize("cut", range(5, 47, 3))
def test_a_token_that_was_cut_off_is_refused(cut: int) -> None:
    with pytest.raises(TokenError, match=r"was not copied whole|cannot be read"):
        Token.parse("kev1-AAV0cmFjZQAKcjB3MS9yMC9lMAQABgECAAEBCFXrJf8"[:cut])


def test_a_token_with_one_character_changed_is_refused() -> None:
    with pytest.raises(TokenError, match="its checksum is wrong"):
        Token.parse("kev1-AAV0cmFjZQAKcjB3MS9yMC9lMAQABgECAAEBDFXrJf8")


def test_what_is_no_token_and_no_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TokenError, match="'nowhere' is neither a token, which begins with kev1-, nor a file that holds one"):
        Token.read("nowhere")
    with pytest.raises(TokenError, match="'hello' is not a token"):
        Token.parse("hello")
