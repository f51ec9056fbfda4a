"""`kev tour`."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kev.cli.main import kev
from kev.tour.catalogue import NAMES, tour_named

ROOT = Path(__file__).parents[2]


def tour(*arguments: str) -> Result:
    return CliRunner().invoke(kev, ["tour", *arguments], prog_name="kev")


def test_tours_and_their_exercises_are_listed() -> None:
    lines = tour().stdout.splitlines()
    assert [line.split()[0] for line in lines[::2]] == list(NAMES)
    for line, name in zip(lines[1::2], NAMES, strict=True):
        assert line.split(": ")[1] == ", ".join(exercise.name for exercise in tour_named(name).exercises)


@pytest.mark.parametrize("name", NAMES)
def test_a_tour_shows_its_tasks(name: str) -> None:
    shown = " ".join(tour(name).stdout.split())
    for exercise in tour_named(name).exercises:
        assert f"{exercise.name}={exercise.answer} {exercise.task}" in shown


@pytest.mark.parametrize("name", NAMES)
def test_the_document_of_a_tour_has_its_exercises(name: str) -> None:
    found = tour_named(name)
    table = (ROOT / found.document).read_text(encoding="utf-8").partition("## Exercises")[2]
    rows = "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    assert re.findall(r"`([\w-]+)`", rows) == [exercise.name for exercise in found.exercises]


def test_right_answers_end_with_0_and_wrong_ones_with_1() -> None:
    result = tour("jos-vmx", "identity=0x1037", "large=0x2000b7")
    assert (result.exit_code, [line[:6] for line in result.stdout.splitlines()]) == (0, ["right ", "right "])
    result = tour("jos-vmx", "identity=0x1037", "large=0")
    assert (result.exit_code, [line[:6] for line in result.stdout.splitlines()]) == (1, ["right ", "wrong "])


def test_answers_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "answers.toml"
    file.write_text('identity = 0x1037\nvideo = "0xa0007"\n')
    assert tour("jos-vmx", "--answers", str(file)).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["jos-vnx"], "tour: 'jos-vnx': there is no such tour: is it 'jos-vmx'? There are keos, jos, jos-vmx, lvisor"),
        (["lvisor", "lgo=1"], "lvisor: 'lgo': there is no such exercise: is it 'log'? There are log, opcodes, "),
        (["lvisor", "log"], "'log' is no answer: it must be EXERCISE=ANSWER"),
        (["lvisor", "--answers", "nothing"], "nothing: cannot be read: No such file or directory"),
    ],
)
def test_a_mistake_is_refused_in_a_line(arguments: list[str], message: str) -> None:
    result = tour(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"kev: {message}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"), [("identity = ", "is not TOML: "), ("identity = [1]", "identity: an answer must be a text or a number")]
)
def test_a_file_without_answers_is_refused(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "answers.toml"
    file.write_text(text)
    result = tour("jos-vmx", "--answers", str(file))
    assert (result.exit_code, result.stderr[: len(f"kev: {file}: {message}")]) == (2, f"kev: {file}: {message}")
