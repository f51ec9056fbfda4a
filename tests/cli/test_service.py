"""The commands that ask a service."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from kev.cli.main import kev
from kev.cli.ps import age_text
from kev.service.client import client_of
from tests.cli.sessions import ENOUGH, Session
from tests.guests.images import read_file
from tests.service.api.serving import Server

KEV: Final = [sys.executable, "-m", "kev"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("service"), "--in-process", "--max-memory", "512M", "--console-size", "4K") as server:
        yield server


@pytest.fixture(autouse=True)
def service(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """It is where commands look for it, and has no machines."""
    monkeypatch.setenv("KEV_SERVICE", f"unix:{server.socket}")
    monkeypatch.delenv("KEV_TOKEN", raising=False)
    yield
    machines = [machine["id"] for machine in json.loads(done("ps", "--json"))]
    if machines:
        done("rm", "--force", *machines)


def asked(*words: str) -> Result:
    return CliRunner().invoke(kev, words)


def done(*words: str) -> str:
    outcome = asked(*words)
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    return outcome.stdout


def refusal(*words: str) -> str:
    """The one line that it comes to."""
    outcome = asked(*words)
    assert (outcome.exit_code, outcome.stdout, outcome.stderr.count("\n")) == (2, "", 1)
    return outcome.stderr


def listed() -> list[list[str]]:
    """What `kev ps` says of each machine: name, state, image and exit code."""
    return [[name, state, image, *words[2:]] for _, name, state, image, *words in map(str.split, done("ps").splitlines()[1:])]


def begun(server: Server) -> str:
    """A machine that waits at its prompt."""
    number = done("start", "echo").strip()
    server.client.get(f"/v1/machines/{number}/console", params={"follow": 1})
    return number


def test_a_machine_is_started_listed_watched_stopped_and_forgotten() -> None:
    number = done("start", "echo", "--name", "one", "--label", "a=b", "-m", "64M").strip()
    assert listed() == [["one", "running", "echo"]]
    [machine] = json.loads(done("ps", "--json"))
    assert (machine["id"], machine["labels"], machine["spec"]["memory"]) == (number, {"a": "b"}, "64M")
    done("pause", "one")
    assert listed() == [["one", "paused", "echo"]]
    done("resume", number)
    assert "kev: one: the machine is running: stop it before, or say --force" in refusal("rm", "one")
    done("stop", number[:6])
    assert listed() == [["one", "ended", "echo", "0"]]
    done("rm", "one")
    assert done("ps") == "ID  NAME  STATE  IMAGE  AGE  EXIT\n"


def test_the_exit_code_is_the_guests() -> None:
    outcome = asked("start", "--attach", "hypercalls")
    assert (outcome.exit_code, outcome.stdout) == (42, "printed by a hypercall\n")
    number = done("start", "hypercalls").strip()
    assert asked("attach", number).exit_code == 42
    assert ["hypercalls", "42"] in [words[2:] for words in listed()]


def test_how_a_run_was_ended_is_said() -> None:
    outcome = asked("start", "--attach", "spin", "--timeout", "0.2")
    assert outcome.exit_code == 124
    assert "kev: timed out after 0.2 s" in outcome.stderr


def test_logs_are_what_was_printed_or_its_end() -> None:
    number = done("start", "gKeOS").strip()
    everything = done("logs", "--follow", number)
    assert everything.endswith("Hello guest os!\n")
    assert done("logs", number) == everything
    lines = everything.splitlines(keepends=True)
    for count in (0, 1, 3, len(lines), len(lines) + 1):
        assert done("logs", "--tail", str(count), number) == "".join(lines[len(lines) - count :] if count < len(lines) else lines)


def test_a_line_that_has_been_begun_is_the_last_one(server: Server) -> None:
    number = begun(server)
    server.client.post(f"/v1/machines/{number}/input", content=b"one\nexit 0\n")
    done("logs", "--follow", number)
    assert done("logs", "-n", "1", number) == "echo> "
    assert done("logs", "-n", "2", number) == "echo> you said: one\necho> "


def test_what_is_not_kept_is_said(server: Server) -> None:
    number = begun(server)
    server.client.post(f"/v1/machines/{number}/input", content=(b"x" * 70 + b"\n") * 60 + b"exit 0\n")
    asked("logs", "--follow", number)
    outcome = asked("logs", number)
    assert outcome.stderr.endswith(" bytes are not kept any more\n")
    assert 0 < len(outcome.stdout) <= 4096


def test_what_comes_through_a_pipe_is_typed() -> None:
    done("start", "echo", "--name", "e")
    process = subprocess.run([*KEV, "attach", "e"], input=b"one\nexit 5\n", capture_output=True, timeout=ENOUGH)
    assert (process.returncode, process.stderr) == (5, b"")
    assert process.stdout == b"echo> you said: one\necho> "


def test_a_machine_goes_on_from_its_snapshot(server: Server) -> None:
    number = begun(server)
    done("snapshot", number, "booted")
    try:
        assert "kev: --snapshot: it is what is started: 'echo' cannot be, too" in refusal("start", "echo", "--snapshot", "booted")
        done("start", "--snapshot", "booted", "--name", "again")
        process = subprocess.run([*KEV, "attach", "again"], input=b"exit 6\n", capture_output=True, timeout=ENOUGH)
        assert process.returncode == 6
    finally:
        server.client.delete("/v1/snapshots/booted")


def test_files_are_those_of_the_folder_where_it_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kernel").write_bytes(read_file("hypercalls"))
    monkeypatch.chdir(tmp_path)
    assert asked("start", "-a", "kernel").exit_code == 42
    assert json.loads(done("ps", "--json"))[0]["spec"]["image"] == str(tmp_path / "kernel")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("logs", "nobody"), "'nobody': there is no machine of this name or id"),
        (("attach", ""), "'': no machine has no name"),
        (("start", "/nowhere"), "/nowhere"),
        (("start", "echo", "-m", "1G"), "memory"),
        (("start", "echo", "--label", "x"), "--label: 'x': it must be NAME=VALUE"),
        (("ps", "--state", "asleep"), "state: 'asleep': it must be one of created, running, paused, ended, lost"),
        (("ps", "--service", "ftp://x"), "--service: 'ftp://x': it must be unix:PATH, http://HOST:PORT or https://HOST:PORT"),
        (
            ("ps", "--service", "unix:/nowhere"),
            "unix:/nowhere: no service answers: No such file or directory; `kev serve` starts one",
        ),
        (("ps", "--service", "http://127.0.0.1:1"), "http://127.0.0.1:1: no service answers: Connection refused"),
    ],
)
def test_what_cannot_be_done_is_one_line(words: tuple[str, ...], problem: str) -> None:
    assert problem in refusal(*words)


@pytest.mark.slow
def test_a_machine_that_somebody_else_forgets_meanwhile_is_forgotten(server: Server) -> None:
    machine = server.create("hypercalls", start=False)["id"]
    with client_of(f"unix:{server.socket}", None) as client:
        for _ in range(2):
            client.remove(machine)
    assert listed() == []


def test_the_beginning_of_several_ids_is_none(server: Server) -> None:
    made = [server.client.post("/v1/machines", json={"spec": {"image": "echo"}, "start": False}) for _ in range(17)]
    numbers = [machine.json()["id"] for machine in made]
    shared = next(one[0] for one in numbers if sum(other[0] == one[0] for other in numbers) > 1)
    assert f"'{shared}' is the beginning of " in refusal("logs", shared)


def test_without_a_runtime_directory_one_has_to_say_where_the_service_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.delenv("KEV_SERVICE")
        patch.delenv("XDG_RUNTIME_DIR", raising=False)
        assert "XDG_RUNTIME_DIR names no folder for the service's socket: say where it is" in refusal("ps")
        patch.setenv("XDG_RUNTIME_DIR", "/nowhere")
        assert "kev: unix:/nowhere/kev.sock: no service answers" in refusal("ps")


def test_over_tcp_the_token_is_said(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = f"http://127.0.0.1:{server.port}"
    assert refusal("ps", "--service", service).endswith("; --token-file or KEV_TOKEN says the token\n")
    assert done("ps", "--service", service, "--token-file", str(server.token_file)).startswith("ID")
    monkeypatch.setenv("KEV_TOKEN", server.token)
    assert done("ps", "--service", service).startswith("ID")
    bad = tmp_path / "token"
    bad.write_text("no\x01token")
    assert "is no token: it must be printable ASCII" in refusal("ps", "--token-file", str(bad))


def test_names_and_ids_of_machines_are_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    def completed(*words: str) -> list[str]:
        *before, begun = words
        return [item.value for item in ShellComplete(kev, {}, "kev", "_KEV_COMPLETE").get_completions(before, begun)]

    number = done("start", "hypercalls", "--name", "zebra").strip()
    assert completed("logs", "ze") == ["zebra"]
    assert completed("stop", number[:4]) == [number]
    with monkeypatch.context() as patch:
        patch.setenv("KEV_SERVICE", "unix:/nowhere")
        assert completed("logs", "ze") == []


@pytest.mark.slow
def test_a_terminal_is_one_with_the_console_until_it_is_left(sessions: list[Session]) -> None:
    sessions.append(session := Session(*KEV, "start", "--attach", "echo", "--name", "e"))
    session.expect(b"echo> ")
    os.write(session.terminal, b"\x03typed\x1a\r")
    session.expect(b"you said: \x03typed\x1a")
    os.write(session.terminal, b"\x01x")
    assert session.end() == 0
    assert b"kev: left e, which goes on" in session.output
    assert session.mode == session.before
    assert listed() == [["e", "running", "echo"]]
    sessions.append(again := Session(*KEV, "attach", "e", "--tail", "1"))
    again.expect(b"echo> ")
    os.write(again.terminal, b"exit 7\r")
    assert again.end() == 7
    assert again.mode == again.before


@pytest.mark.slow
def test_a_signal_ends_the_command_and_not_the_machine(sessions: list[Session]) -> None:
    sessions.append(session := Session(*KEV, "start", "-a", "echo", "--name", "e"))
    session.expect(b"echo> ")
    session.process.terminate()
    assert session.end() == 143
    assert session.mode == session.before
    assert listed() == [["e", "running", "echo"]]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (7200, "2 h"), (200_000, "2 d")]
)
def test_an_age_is_in_the_largest_unit(seconds: float, text: str) -> None:
    assert age_text(seconds) == text
