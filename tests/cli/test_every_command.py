"""Every command, as a job of a shell on a terminal: stopped, continued, in the background, under signals."""

import json
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import click
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
SHELL_OF_THREE: Final = """
set -m
"$@"
echo "stopped with $?"
read -r _
fg >/dev/null
echo "ended with $?"
"$@" &
echo "its number is $!."
wait $!
echo "then ended with $?"
"$@"
echo "at last ended with $?"
"""
"""The same, then with the job in the background, and in the foreground again."""
HELD: Final = """
import sys, time
class Holder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.stderr.write("held\\n")
            from kev.work.stopping import check
            while True:
                check()
                time.sleep(0.01)
sys.meta_path.insert(0, Holder())
from kev.__main__ import main
main()
"""
"""The command works for as long as one likes when it imports a module."""
ALONE: Final = """
import os
os.environ["PATH"] = ""
from kev.__main__ import main
main()
"""
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
    held: str | None = None
    """The module at which it is held."""
    alone: bool = False
    """Without other programs that it would find."""

    @property
    def program(self) -> list[str]:
        if self.held is not None:
            return [sys.executable, "-c", HELD.format(module=self.held)]
        return [sys.executable, *(["-c", ALONE] if self.alone else ["-m", "kev"])]

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


@cache
def token() -> str:
    with TemporaryDirectory() as folder:
        explored = CliRunner().invoke(kev, ["race", "explore", "lost-update", "--smp", "2", "--state", folder])
    found = re.search(r"kev1-\S+", explored.stdout)
    assert found is not None
    return found[0]


def held(module: str, said: bytes) -> Callable[[Callable[[Place], list[str]]], Command]:
    return lambda words: Command(words, b"held", said, held=module)


in_a_run: Final = "kev.engine.amdv.access_trace"
"""A module that the first run of `kev race` imports."""


COMMANDS: Final = {
    "run": Command(fixed("run echo"), b"echo> ", b"vCPU 0 at RIP"),
    "run, flood": Command(flood, b"xxxx", b"vCPU 0 at RIP"),
    "run, gdb": Command(fixed("run echo --gdb 127.0.0.1:0 --wait"), b"listening", b"vCPU 0 at RIP"),
    "race explore": Command(fixed("race explore --runs 100000000"), b"runs", b" runs were made"),
    "race explore, guest": Command(fixed("race explore smp --smp 2 --runs 1000000"), b"run", b"distinct schedule"),
    "race detect": Command(fixed("race detect lost-update --smp 2 --runs 100000000"), b"looked at", b"kev: stopped by SIG"),
    "race explore, all": Command(fixed("race explore --all"), b"broken pagers", b" of 18 broken pagers were tried"),
    "race shrink": held(in_a_run, b"until then")(lambda _: ["race", "shrink", token()]),
    "race show": held(in_a_run, b"before there was anything to tell")(lambda _: ["race", "show", token()]),
    "race replay": Command(lambda _: ["race", "replay", token(), "--times", "1000000"], b"made again", b" of 1,000,000 times"),
    "race explore, jobs": Command(fixed("race explore smp --smp 2 --runs 1000000 --jobs 2"), b"run", b"distinct schedule"),
    "bench boot": Command(fixed("bench boot hypercalls --rounds 100000"), b"measuring", b"measured"),
    "bench restore": Command(fixed("bench restore gKeOS --at output:gKeOS --rounds 100000"), b"measuring", b"measured"),
    "bench kernels": Command(fixed("bench kernels echo --until never"), b"measuring", b"before a round was measured", alone=True),
    **{
        f"ept {command}": Command(fixed(f"ept {command} --run echo"), b"echo> ", b"vCPU 0 at RIP")
        for command in ("dump", "walk 0x100000", "audit", "size")
    },
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

SHORT: Final = {
    "inspect": "inspect hypercalls",
    "guests": "guests",
    "fs mk": "fs mk new old",
    "fs ls": "fs ls image",
    "fs cat": "fs cat image name",
    "fs put": "fs put image name file",
    "fs rm": "fs rm image name",
    "ept build": "ept build --memory 2M",
    "ept diff": "ept diff one another",
    "record merge": "record merge old -o new",
    "bench tables": "bench tables",
    "bench compare": "bench compare old new",
    "tour": "tour jos mbmap=hypercalls",
    "report": "report run.json",
    "start": "start echo",
    "ps": "ps",
    "pause": "pause machine",
    "resume": "resume machine",
    "stop": "stop machine",
    "rm": "rm machine",
    "snapshot": "snapshot machine",
}
"""Commands that do not take long; they are held when they are imported."""


def leaves(group: click.Group, *path: str) -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from leaves(command, *path, name)
        else:
            yield " ".join((*path, name))


def test_every_command_is_here() -> None:
    here = {name.partition(",")[0].partition(" 0x")[0] for name in (*COMMANDS, *SHORT)}
    assert here == set(leaves(kev))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("service"), "--in-process") as server:
        yield server


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with ExitStack() as behind:

        def machine() -> str:
            server: Server = request.getfixturevalue("server")
            behind.callback(server.clear)
            monkeypatch.setenv("KEV_SERVICE", f"unix:{server.socket}")
            return str(server.create("echo")["id"])

        yield Place(tmp_path, machine)


def begun(sessions: list[Session], script: str, command: Command, place: Place) -> Session:
    session = Session("sh", "-c", script, "sh", *command.program, *command.words(place))
    sessions.append(session)
    session.expect(command.ready)
    return session


def stop_and_interrupt(session: Session) -> None:
    """Ctrl-Z to the job in the foreground, whose shell has the terminal then; when it goes on, Ctrl-C."""
    job = os.tcgetpgrp(session.terminal)
    os.killpg(job, signal.SIGTSTP)
    session.expect(b"stopped with 14")
    assert session.mode == session.before
    os.write(session.terminal, b"\n")
    while os.tcgetpgrp(session.terminal) != job:
        select.select([session.terminal], [], [], 0.01)
    os.killpg(job, signal.SIGINT)


def ends(session: Session, command: Command, number: int) -> None:
    """A signal of that number has ended it, it has said what it came to, and the terminal is as it was."""
    session.expect(b"ended with ")
    session.expect(b"\n")
    assert session.end() == 0
    assert b"ended with %d\r" % command.exit_code(number) in session.output
    assert command.said in session.output
    assert session.mode == session.before


@pytest.mark.parametrize("name", COMMANDS)
def test_a_job_gives_the_terminal_back_while_it_is_stopped_and_goes_on(sessions: list[Session], place: Place, name: str) -> None:
    command = COMMANDS[name]
    session = begun(sessions, SHELL, command, place)
    assert os.tcgetpgrp(session.terminal) != session.process.pid
    stop_and_interrupt(session)
    ends(session, command, signal.SIGINT)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_job_in_the_background_goes_on_until_sigterm(sessions: list[Session], place: Place, name: str) -> None:
    command = COMMANDS[name]
    session = begun(sessions, IN_BACKGROUND, command, place)
    session.expect(b".")
    found = re.search(rb"its number is (\d+)\.", session.output)
    assert found is not None
    assert session.mode == session.before
    os.kill(int(found[1]), signal.SIGTERM)
    ends(session, command, signal.SIGTERM)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_hang_up_ends_it_and_restores_the_terminal(sessions: list[Session], place: Place, name: str) -> None:
    command = COMMANDS[name]
    session = begun(sessions, SHELL, command, place)
    os.killpg(os.tcgetpgrp(session.terminal), signal.SIGHUP)
    session.expect(b"stopped with %d\r" % command.exit_code(signal.SIGHUP))
    assert command.said in session.output
    assert session.mode == session.before


@pytest.mark.parametrize("name", SHORT)
def test_a_command_that_takes_no_time_is_a_job_like_any_other(sessions: list[Session], place: Place, name: str) -> None:
    path = name.split()
    program = HELD.format(module=f"kev.cli.{name.replace(' ', '.')}" if path[0] in ("ept", "record") else f"kev.cli.{path[0]}")
    session = Session("sh", "-c", SHELL_OF_THREE, "sh", sys.executable, "-c", program, *SHORT[name].split())
    sessions.append(session)
    session.expect(b"held")
    stop_and_interrupt(session)
    session.expect(b"kev: interrupted\r\n")
    session.expect(b"ended with 130")
    session.expect(b"held", 2)
    session.expect(b".\r\n")
    found = re.search(rb"its number is (\d+)\.", session.output)
    assert found is not None
    os.kill(int(found[1]), signal.SIGTERM)
    session.expect(b"kev: ended by SIGTERM\r\n")
    session.expect(b"then ended with 143")
    session.expect(b"held", 3)
    os.killpg(os.tcgetpgrp(session.terminal), signal.SIGHUP)
    session.expect(b"kev: ended by SIGHUP\r\n")
    session.expect(b"at last ended with 129")
    assert session.end() == 0
    assert session.mode == session.before
