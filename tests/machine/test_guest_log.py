"""Logs that are kept of a guest."""

import re

import pytest
from click.testing import CliRunner

import kev
from kev.cli.main import kev as kev_command
from kev.machine.guest_log import LogError

LINE = re.compile(rb"\[ {0,4}\d{1,5}\.\d{6}\] cr3: ([0-9a-f]+)\n")


def cr3_values(name: str, vcpus: int | None = None) -> list[int]:
    lines: list[bytes] = []
    report = kev.launch(name, logs=["cr3"], log=lines.append, vcpus=vcpus)
    assert report.exit_code == 0
    matches = [LINE.fullmatch(line) for line in lines]
    assert all(matches), lines
    return [int(match[1], 16) for match in matches if match]


def test_every_write_to_cr3_is_logged() -> None:
    values = cr3_values("user")
    kernel, process = values[:2]
    assert len(values) > 40
    assert kernel != process
    assert set(values[::2]) == {kernel}


def test_every_processor_is_logged() -> None:
    assert len(cr3_values("smp", vcpus=3)) == 3


def test_a_write_is_logged_with_guest_time() -> None:
    lines: list[bytes] = []
    kev.launch("gKeOS", seed=1, logs=["cr3"], log=lines.append)
    again: list[bytes] = []
    kev.launch("gKeOS", seed=1, logs=["cr3"], log=again.append)
    assert len(lines) == 1
    assert again == lines


def test_what_the_guest_prints_is_the_same_with_and_without() -> None:
    assert kev.launch("user", logs=["cr3"]).output == kev.launch("user").output


def test_without_being_asked_nothing_is_logged() -> None:
    lines: list[bytes] = []
    report = kev.launch("user", log=lines.append)
    assert lines == []
    assert "CrAccess" not in report.exits


def test_the_command_line_writes_the_log_to_standard_error() -> None:
    result = CliRunner().invoke(kev_command, ["run", "gKeOS", "--log", "cr3"], prog_name="kev")
    assert "cr3" not in result.stdout
    assert LINE.match(result.stderr.encode())


def test_an_unknown_log_is_refused_with_the_nearest() -> None:
    with pytest.raises(LogError, match=r"^no log is named 'cr33': there is cr3$"):
        kev.launch("gKeOS", logs=["cr33"])
