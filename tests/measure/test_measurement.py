from collections.abc import Iterator

import pytest

from bench.measurement import Measurement, differences, repeat
from bench.tables import table
from bench.transcript import Transcript


def test_the_median_is_what_a_target_is_compared_with() -> None:
    measurement = Measurement("name", "µs", [9.0, 1.0, 2.0], limit=2.0)
    assert (measurement.median, measurement.least, measurement.most) == (2.0, 1.0, 9.0)
    assert measurement.met


def test_a_target_is_missed_by_a_greater_median() -> None:
    measurement = Measurement("name", "µs", [2.1], limit=2.0)
    assert measurement.met is False
    assert table("title", [measurement]).endswith("at most 2: MISSED")


def test_without_a_target_there_is_none_to_meet() -> None:
    assert Measurement("name", "µs", [2.1]).met is None


@pytest.fixture
def rounds() -> Iterator[float]:
    return map(float, range(10))


def test_the_first_round_is_not_counted(rounds: Iterator[float]) -> None:
    assert repeat(3, False, lambda: {"a": next(rounds)}) == {"a": [1.0, 2.0, 3.0]}


def test_a_quick_measurement_is_one_round(rounds: Iterator[float]) -> None:
    assert repeat(3, True, lambda: {"a": next(rounds)}) == {"a": [0.0]}


def test_differences_are_made_round_by_round() -> None:
    assert differences([3.0, 5.0], [1.0, 1.5]) == [2.0, 3.5]


def test_a_transcript_finds_timed_lines_among_others() -> None:
    transcript = Transcript()
    for text in (b"\x01SeaBIOS\r\nINT n: ", b"20 <", b">\nan end: <>\n"):
        transcript.add(text)
    (line,) = transcript.timed_lines()
    assert (line.name, line.count) == ("INT n", 20)
    assert line.seconds == transcript.seconds_between(b"<", b">")
