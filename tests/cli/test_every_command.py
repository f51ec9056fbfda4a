"""Every command that works for long, as a job of a shell on a terminal: stopped, continued, in the background, under signals."""

import json
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from click.testing import CliRunner

from kev.cli.main import kev
from tests.cli.programs import FLOOD
from tests.cli.sessions import Session
from tests.service.api.serving import Server

pytestmark = pytest.mark.slow

SHELL: Final = """
set -m
"$@"
echo "stopped with $?"
read -r _
fg >/dev/null
echo "ended with $?"
"""
"""A shell with one job, which is put into the foreground again after a line was typed."""
IN_BACKGROUND: Final = """
set -m
"$@" &
echo "its number is $!."
wait $!
echo "ended with $?"
"""


class Place(NamedTuple):
    """Where a command finds what it needs."""

    folder: Path
    """Its working directory."""
    machine: Callable[[], str]
    """Starts one on a service; returns what it is called."""


class Command(NamedTuple):
    words: Callable[[Place], list[str]]
    ready: bytes
    """It prints that when it has begun to work."""
    said: bytes
    """What it says when a signal ends it, and what it has come to."""
    shuts_down: bool = False
    """To be ended is its way to end well."""

    def exit_code(self, number: int) -> int:
        return 0 if self.shuts_down else 128 + number


def fixed(words: str) -> Callable[[Place], list[str]]:
    return lambda _: words.split()


def batch(place: Place) -> list[str]:
    file = place.folder / "batch.jsonl"
    file.write_text("".join(json.dumps({"image": image}) + "\n" for image in ("hypercalls", "spin")))
    return ["batch", str(file)]


def flood(place: Place) -> list[str]:
    image = place.folder / "flood"
    image.write_bytes(FLOOD)
    return ["run", str(image)]


def replay(place: Place) -> list[str]:
    explored = CliRunner().invoke(kev, ["race", "explore", "lost-update", "--smp", "2", "--state", str(place.folder)])
    found = re.search(r"kev1-\S+", explored.stdout)
    assert found is not None
    return ["race", "replay", found[0], "--times", "1000000"]


COMMANDS: Final = {
    "run": Command(fixed("run echo"), b"echo> ", b"vCPU 0 at RIP"),
    "run, flood": Command(flood, b"xxxx", b"vCPU 0 at RIP"),
    "gdb": Command(fixed("run echo --gdb 127.0.0.1:0 --wait"), b"listening", b"vCPU 0 at RIP"),
    "race, pager": Command(fixed("race explore --runs 100000000"), b"runs", b" runs were made"),
    "race, guest": Command(fixed("race explore smp --smp 2 --runs 1000000"), b"run", b"distinct schedule"),
    "race detect": Command(fixed("race detect smp --smp 2 --runs 100000000"), b"looked at", b"kev: stopped by SIG"),
    "race replay": Command(replay, b"made again", b" of 1,000,000 times"),
    "race, jobs": Command(fixed("race explore smp --smp 2 --runs 1000000 --jobs 2"), b"run", b"distinct schedule"),
    "bench boot": Command(fixed("bench boot hypercalls --rounds 100000"), b"measuring", b"measured"),
    "bench restore": Command(fixed("bench restore gKeOS --at output:gKeOS --rounds 100000"), b"measuring", b"measured"),
    "serve": Command(
        lambda place: ["serve", "--listen", f"unix:{place.folder}/sock", "--state-dir", str(place.folder)],
        b"ready",
        b"signal",
        shuts_down=True,
    ),
    "jos run": Command(fixed("jos run echo"), b"echo> ", b"kev: guest 1, echo: "),
    "batch": Command(batch, b'"hypercalls"', b"1 of 2 machines have ended"),
    "attach": Command(lambda place: ["attach", place.machine()], b"echo> ", b"kev: "),
    "logs": Command(lambda place: ["logs", "--follow", place.machine()], b"echo> ", b"kev: "),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("service"), "--in-process") as server:
        yield server


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    def machine() -> str:
        server: Server = request.getfixturevalue("server")
        monkeypatch.setenv("KEV_SERVICE", f"unix:{server.socket}")
        made = server.client.post("/v1/machines", json={"spec": {"image": "echo"}, "start": True}).json()
        return str(made["id"])

    return Place(tmp_path, machine)


def begun(sessions: list[Session], script: str, command: Command, place: Place) -> Session:
    session = Session("sh", "-c", script, "sh", sys.executable, "-m", "kev", *command.words(place))
    sessions.append(session)
    session.expect(command.ready)
    return session


@pytest.mark.parametrize("name", COMMANDS)
def test_a_job_gives_the_terminal_back_while_it_is_stopped_and_goes_on(sessions: list[Session], place: Place, name: str) -> None:
    command = COMMANDS[name]
    session = begun(sessions, SHELL, command, place)
    job = os.tcgetpgrp(session.terminal)
    assert job != session.process.pid
    os.killpg(job, signal.SIGTSTP)
    session.expect(b"stopped with 14")
    assert session.mode == session.before
    os.write(session.terminal, b"\n")
    while os.tcgetpgrp(session.terminal) != job:
        select.select([session.terminal], [], [], 0.01)
    os.killpg(job, signal.SIGINT)
    session.expect(b"ended with ")
    session.expect(b"\n")
    assert session.end() == 0
    assert b"ended with %d\r" % command.exit_code(signal.SIGINT) in session.output
    assert command.said in session.output
    assert session.mode == session.before


@pytest.mark.parametrize("name", COMMANDS)
def test_a_job_in_the_background_goes_on_until_sigterm(sessions: list[Session], place: Place, name: str) -> None:
    command = COMMANDS[name]
    session = begun(sessions, IN_BACKGROUND, command, place)
    session.expect(b".")
    found = re.search(rb"its number is (\d+)\.", session.output)
    assert found is not None
    assert session.mode == session.before
    os.kill(int(found[1]), signal.SIGTERM)
    session.expect(b"ended with ")
    session.expect(b"\n")
    assert session.end() == 0
    assert b"ended with %d\r" % command.exit_code(signal.SIGTERM) in session.output
    assert command.said in session.output
    assert session.mode == session.before


@pytest.mark.parametrize("name", COMMANDS)
def test_a_hang_up_ends_it_and_restores_the_terminal(sessions: list[Session], place: Place, name: str) -> None:
    command = COMMANDS[name]
    session = begun(sessions, SHELL, command, place)
    os.killpg(os.tcgetpgrp(session.terminal), signal.SIGHUP)
    session.expect(b"stopped with %d\r" % command.exit_code(signal.SIGHUP))
    assert command.said in session.output
    assert session.mode == session.before
