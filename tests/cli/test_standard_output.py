"""Standard output that is full, closed, or not read."""

import fcntl
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from kev.guests.catalogue import root_file_system
from tests.cli.programs import FLOOD

COMMANDS = [
    *("guests", "--help", "--version", "run --help", "run gKeOS --print-spec", "inspect hypercalls", "run hypercalls"),
    *("race explore --runs 3", "bench tables --guests 1", "tour", "batch hypercalls", "jos run hypercalls", "ept size --memory 1G"),
    *("ept dump --memory 2M", "ept walk 0x1000 --memory 2M", "ept audit --memory 2M", "ept build --memory 2M"),
    *(
        "ept build --memory 2M -o -",
        "race detect lost-update --smp 2 --runs 1",
        "run hypercalls --report -",
    ),
    *(f"fs {command}" for command in ("ls ROOT", "cat ROOT hypercalls")),
]


def kev(words: str) -> list[str]:
    return [sys.executable, "-m", "kev", *words.replace("ROOT", root_file_system()).split()]


@pytest.mark.parametrize("words", COMMANDS)
@pytest.mark.parametrize(("where", "reason"), [(">/dev/full", "No space left on device"), (">&-", "it is closed")])
def test_output_that_cannot_be_written_is_said_in_a_line(words: str, where: str, reason: str) -> None:
    command = f"{shlex.join(kev(words))} {where}"
    result = subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    assert result.stderr == f"kev: standard output cannot be written: {reason}\n"
    assert result.returncode == 2


def test_names_that_are_no_unicode_are_printed_escaped(tmp_path: Path) -> None:
    record, merged = tmp_path / "record", tmp_path / os.fsdecode(b"m\xff")
    subprocess.run(kev(f"run hypercalls --paging record={record}"), capture_output=True, check=False)
    command = [*kev(f"record merge {record} -o"), str(merged)]
    result = subprocess.run(command, capture_output=True, check=True, env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"})
    assert rb"m\udcff" in result.stdout


REPEATABLE = [
    *("guests", "--help", "run --help", "run gKeOS --print-spec", "inspect hypercalls", "bench boot --help", "tour"),
    *("run hypercalls", "fs ls ROOT", "fs cat ROOT hypercalls", "bench tables --guests 1"),
]


@pytest.mark.parametrize("words", REPEATABLE)
def test_a_slow_reader_gets_all_of_it_also_if_its_pipe_does_not_wait(words: str) -> None:
    at_once = subprocess.run(kev(words), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    for waits in (True, False):
        reader, writer = os.pipe()
        if sys.platform == "linux":
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(writer, waits)
        with subprocess.Popen(kev(words), stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.DEVNULL) as process:
            os.close(writer)
            output = b""
            while data := os.read(reader, 1000):
                output += data
        os.close(reader)
        assert output == at_once.stdout
        assert process.returncode == at_once.returncode


def test_a_reader_of_both_outputs_that_does_not_wait_gets_the_end_too() -> None:
    reader, writer = os.pipe()
    if sys.platform == "linux":
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    with subprocess.Popen(kev("run hypercalls --trace-exits"), stdin=subprocess.DEVNULL, stdout=writer, stderr=writer) as process:
        os.close(writer)
        output = b""
        while data := os.read(reader, 50):
            output += data
    os.close(reader)
    assert process.returncode == 42
    assert b"kev: exit code 42, by the guest\n" in output
    assert b"printed by a hypercall\n" in output


@pytest.mark.parametrize("where", ["2>/dev/full", "2>&-", "2</dev/null"])
@pytest.mark.parametrize(
    ("words", "exit_code"),
    [("run hypercalls", 42), ("run triple", 3), ("run nosuch", 2), ("guestss", 2), ("bench tables --guests 1", 0)],
)
def test_the_exit_code_is_right_where_nobody_can_be_told_more(words: str, exit_code: int, where: str) -> None:
    command = f"{shlex.join(kev(words))} {where}"
    result = subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
    assert result.returncode == exit_code


@pytest.mark.parametrize("waits", [True, False])
def test_a_reader_of_messages_that_has_gone_changes_no_exit_code(waits: bool) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, waits)
    os.close(reader)
    result = subprocess.run(kev("run hypercalls"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=writer, check=False)
    os.close(writer)
    assert (result.returncode, result.stdout) == (42, b"printed by a hypercall\n")


def test_the_script_of_a_shell_that_cannot_be_written_is_said_in_a_line() -> None:
    command = f"_KEV_COMPLETE=bash_source {shlex.join(kev(''))} >/dev/full"
    result = subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    assert (result.returncode, result.stderr) == (2, "kev: standard output cannot be written: No space left on device\n")


def test_no_file_takes_the_place_of_a_closed_output(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = f"{shlex.join(kev('run triple'))} --report {shlex.quote(str(report))} >&- 2>&- <&-"
    assert subprocess.run(command, shell=True, check=False).returncode == 3
    assert report.read_text(encoding="utf-8").startswith("{")


def ended(words: Sequence[str], number: int | None) -> tuple[int, str]:
    """The exit code, and what is said, of a process of whose output a byte is read, and no more; it is sent a signal then."""
    reader, writer = os.pipe()
    if sys.platform == "linux":
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.PIPE, text=True) as process:
        os.close(writer)
        os.read(reader, 1)
        if number is not None:
            process.send_signal(number)
        said = process.communicate(timeout=30)[1]
    os.close(reader)
    return process.returncode, said


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_whose_output_nobody_reads_can_be_ended(number: int, exit_code: int) -> None:
    assert ended([*kev("fs cat"), root_file_system(), "gKeOS"], number)[0] == exit_code


@pytest.fixture
def flood(tmp_path: Path) -> str:
    image = tmp_path / "flood"
    image.write_bytes(FLOOD)
    return str(image)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("more", [[], ["--seed", "1"]])
def test_a_guest_whose_output_nobody_reads_can_be_ended(flood: str, more: list[str], number: int, exit_code: int) -> None:
    code, said = ended([*kev("run"), flood, *more], number)
    assert code == exit_code
    assert "kev: loaded 1 of" in said


@pytest.mark.parametrize("more", [[], ["--seed", "1"], ["--gdb", "127.0.0.1:0"]])
def test_a_guest_whose_output_nobody_reads_is_ended_by_its_time_limit(flood: str, more: list[str]) -> None:
    exit_code, said = ended([*kev("run"), flood, "--timeout", "2", *more], None)
    assert exit_code == 124
    assert "bytes of the guest's output were not read, and are lost" in said
    assert "timed out after 2 s" in said
