"""Failures that are kept."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from kev.cli.main import kev
from kev.race.detection import detect
from kev.race.outcome import Failure
from kev.race.schedule import Schedule
from kev.race.store import FailureStore, StoreError
from kev.race.strategy import SeededRandom
from kev.race.subject import Identity
from kev.race.token import Token
from tests.race.mutants.waking import LostWakeUp
from tests.race.subjects import subject

FAILURE = Failure("deadlock", "nobody can go on", 3)


def token(steps: int, target: str = "") -> Token:
    return Token(Identity("trace", target, "r0/r0"), Schedule.of([(0, steps), (1, 1)]))


def test_the_latest_failure_comes_first_and_none_twice(tmp_path: Path) -> None:
    store = FailureStore(tmp_path)
    for steps in (1, 2, 1):
        store.keep(token(steps), FAILURE)
    store.keep(token(9, "other"), FAILURE)
    assert store.schedules(token(1).identity) == [token(1).schedule, token(2).schedule]


def test_what_is_no_utf_8_in_a_command_line_is_kept_like_anything_else(tmp_path: Path) -> None:
    store = FailureStore(tmp_path)
    for target in ("\udcff", "\udcfe"):
        store.keep(token(1, target), FAILURE)
    assert store.schedules(token(1, "\udcff").identity) == [token(1).schedule]


def test_only_the_latest_are_kept(tmp_path: Path) -> None:
    store = FailureStore(tmp_path)
    for steps in range(1, 31):
        store.keep(token(steps), FAILURE)
    assert store.schedules(token(1).identity) == [token(steps).schedule for steps in range(30, 10, -1)]


def test_a_damaged_file_is_refused_by_name(tmp_path: Path) -> None:
    store = FailureStore(tmp_path)
    file = store.keep(token(1), FAILURE)
    for text in ("{", '{"token": 1}', "[1]"):
        file.write_text(text)
        with pytest.raises(StoreError, match=rf"{file.name}: .* can be deleted"):
            store.schedules(token(1).identity)


def test_a_failure_is_found_again_at_once(tmp_path: Path) -> None:
    store = FailureStore(tmp_path)
    race = subject("r0r1/r0/r1", LostWakeUp)
    first = detect(race, SeededRandom(5), 1_000, store=store)
    again = detect(race, SeededRandom(6), 1_000, store=store)
    assert first.exploration.runs > 0
    assert again.exploration.runs == 0
    assert first.first is not None
    assert again.first is not None
    assert again.first.token == first.first.token


def test_a_failure_that_cannot_be_kept_is_shrunk_and_told_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    state = tmp_path / "file" / "state"  # as in a home that cannot be written
    result = CliRunner().invoke(kev, ["race", "explore", "publish-before-fill", "--state", str(state)])
    assert result.exit_code == 1
    assert "shrunk to 1 switch" in result.stdout
    assert "picture" not in result.stdout
    assert re.search(rf"kev: warning: {re.escape(str(state))}/\S+: a failure cannot be kept: Not a directory\n$", result.stderr)
