"""`kev run` on a terminal and under signals: it ends as it should, and the terminal is as it was."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.cli.programs import kernel
from tests.cli.sessions import ENOUGH, Session

KEV: Final = [sys.executable, "-c", "from kev.__main__ import main; main()", "run"]
BACKGROUND: Final = """
import os, sys
child = os.fork()
if not child:
    os.setpgid(0, 0)
    os.execv(sys.argv[1], sys.argv[1:])
_, status = os.waitpid(child, os.WUNTRACED)
print("ended with", os.waitstatus_to_exitcode(status) if not os.WIFSTOPPED(status) else f"stopped by {os.WSTOPSIG(status)}")
"""
"""A shell with one job in the background, whose terminal this is."""


def begin(sessions: list[Session], *arguments: str) -> Session:
    session = Session(*arguments)
    sessions.append(session)
    return session


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [
        (signal.SIGINT, 130, b"kev: interrupted: vCPU 0 at RIP"),
        (signal.SIGTERM, 143, b"kev: ended by SIGTERM: vCPU 0 at RIP"),
        (signal.SIGHUP, 129, b"kev: ended by SIGHUP: vCPU 0 at RIP"),
    ],
    ids=lambda value: value.name if isinstance(value, signal.Signals) else "",
)
def test_a_signal_ends_the_run_writes_its_report_and_restores_the_terminal(
    sessions: list[Session], tmp_path: Path, number: signal.Signals, code: int, message: bytes
) -> None:
    report = tmp_path / "report.json"
    session = begin(sessions, *KEV, "echo", "--report", str(report))
    session.expect(b"echo> ")
    os.write(session.terminal, b"hello\n")
    session.expect(b"you said: hello")
    assert session.mode != session.before
    os.kill(session.process.pid, number)
    assert session.end() == code
    assert message in session.output
    assert b"kev: loaded" in session.output
    assert session.mode == session.before
    assert report.stat().st_size


def test_the_interrupt_key_ends_the_run(sessions: list[Session]) -> None:
    session = begin(sessions, *KEV, "echo")
    session.expect(b"echo> ")
    os.write(session.terminal, b"\n")
    session.expect(b"you said: ")
    os.write(session.terminal, b"\x03")
    assert session.end() == 130
    assert session.mode == session.before


def test_a_stopped_run_gives_the_terminal_back_until_it_goes_on(sessions: list[Session]) -> None:
    session = begin(sessions, *KEV, "echo")
    session.expect(b"echo> ")
    os.write(session.terminal, b"one\n")
    session.expect(b"you said: one")
    os.kill(session.process.pid, signal.SIGTSTP)
    _, status = os.waitpid(session.process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    assert session.mode == session.before
    os.kill(session.process.pid, signal.SIGCONT)
    os.write(session.terminal, b"two\n")
    session.expect(b"you said: two")
    assert session.mode != session.before
    os.write(session.terminal, b"exit 5\n")
    assert session.end() == 5
    assert session.mode == session.before


def test_what_kev_says_begins_on_a_line_of_its_own(sessions: list[Session], tmp_path: Path) -> None:
    image = tmp_path / "kernel"
    image.write_bytes(kernel(bytes.fromhex("66baf803 b078 ee 30c0 e6f4 ebfe")))  # prints an x, and ends
    session = begin(sessions, *KEV, str(image), "--boot", "keos")
    assert session.end() == 0
    assert session.output.startswith(b"x\r\nkev: exit code 0")


def test_a_job_in_the_background_of_a_terminal_is_not_stopped(sessions: list[Session]) -> None:
    session = begin(sessions, sys.executable, "-c", BACKGROUND, *KEV, "echo", "--timeout", "0.5")
    session.expect(b"ended with")
    session.expect(b"\n")
    assert session.end() == 0
    assert b"ended with 124" in session.output
    assert session.mode == session.before


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("kev.cli.main", ["guests"]),
        ("click", ["guests"]),
        ("kev.cli.launch", ["run", "hypercalls"]),
        ("kev.machine.builder", ["run", "hypercalls"]),
        ("kev.engine.amdv.engine", ["run", "hypercalls"]),
    ],
)
def test_an_interrupt_while_modules_are_imported_is_one_line(module: str, arguments: list[str]) -> None:
    program = f"""
import os, signal, sys
class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupter())
from kev.__main__ import main
main()
"""
    command = [sys.executable, "-c", program, *arguments]
    process = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=ENOUGH, check=False)
    assert process.returncode == 130
    assert process.stderr == b"kev: interrupted\n"
