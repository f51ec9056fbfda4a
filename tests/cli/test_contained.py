"""`kev run --contained`: what a guest does to its process is its process' affair."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.cli.programs import FLOOD
from tests.cli.sessions import ENOUGH, Session

KEV: Final = [sys.executable, "-m", "kev", "run", "--contained"]


def run(*words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([*KEV, *words], input=typed, capture_output=True, text=True, timeout=ENOUGH, check=False)


def worker_of(process: int) -> int:
    (worker,) = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
    return int(worker)


def test_exit_code_output_input_and_reports_are_those_of_any_run(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = run("echo", "--report", str(report), typed="hello\nexit 7\n")
    assert done.returncode == 7
    assert "you said: hello" in done.stdout
    assert "kev: loaded " in done.stderr
    assert json.loads(report.read_text())["exit_code"] == 7
    assert run("crash").returncode == 3
    assert run("nothing-of-this-name").returncode == 2


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGKILL])
def test_a_guest_that_takes_its_process_down_is_told_with_its_vcpu_and_place(tmp_path: Path, number: signal.Signals) -> None:
    image = tmp_path / "flood"
    image.write_bytes(FLOOD)
    with subprocess.Popen([*KEV, str(image)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as kev:
        assert kev.stdout is not None
        assert kev.stderr is not None
        kev.stdout.read(100_000)
        os.kill(worker_of(kev.pid), number)
        told = kev.communicate(timeout=ENOUGH)[1].decode()
    assert kev.returncode == 4
    lost = rf"flood: the machine is lost: its process was killed by {number.name}; vCPU 0 ran last, from RIP 0x2000[0-9a-f]{{2}}$"
    assert re.search(lost, told.splitlines()[-1])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_and_the_terminal_is_as_it_was(sessions: list[Session], number: signal.Signals, code: int) -> None:
    session = Session(*KEV, "echo")
    sessions.append(session)
    session.expect(b"echo> ")
    os.kill(session.process.pid, number)
    assert session.end() == code
    assert session.mode == session.before


def test_a_process_that_was_killed_leaves_the_terminal_as_it_was(sessions: list[Session]) -> None:
    session = Session(*KEV, "echo")
    sessions.append(session)
    session.expect(b"echo> ")
    os.write(session.terminal, b"hello\n")
    session.expect(b"you said: hello")
    assert session.mode != session.before
    os.kill(worker_of(session.process.pid), signal.SIGKILL)
    assert session.end() == 4
    assert session.mode == session.before


def test_a_process_that_does_not_end_when_it_has_to_is_killed(tmp_path: Path) -> None:
    image = tmp_path / "flood"
    image.write_bytes(FLOOD)
    with subprocess.Popen([*KEV, str(image)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as kev:
        assert kev.stdout is not None
        kev.stdout.read(1000)
        os.kill(worker_of(kev.pid), signal.SIGSTOP)
        kev.terminate()
        told = kev.communicate(timeout=ENOUGH)[1].decode()
    assert (kev.returncode, "its process did not end when it had to, and was killed; " in told) == (4, True)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--dump", "core"], "--dump: a process that is confined can make no files"),
        (["--trace", "trace.json"], "--trace: a process that is confined can make no files"),
        (["--screenshot", "a.png"], "--screenshot: a process that is confined can make no files"),
        (["--snapshot-at", "instructions:1", "a"], "--snapshot-at: a process that is confined can make no files"),
        (["--gdb", "1234"], "--gdb: a process that is confined can make no sockets"),
    ],
)
def test_what_needs_more_than_a_confined_process_may_is_refused(words: list[str], what: str) -> None:
    done = run(*words, "hypercalls")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"kev: --contained: not with {what}\n")


def test_it_is_confined() -> None:
    """A guest that asks for nothing leaves its process with what the host offers."""
    from kev.service.workers.confinement import describe

    if not {measure.name: measure.in_force for measure in describe()}["seccomp"]:
        pytest.skip("there is no seccomp here")
    with subprocess.Popen([*KEV, "echo"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as kev:
        assert kev.stdout is not None
        kev.stdout.read(6)
        status = Path(f"/proc/{worker_of(kev.pid)}/status").read_text(encoding="ascii")
        kev.communicate(b"exit 0\n", timeout=ENOUGH)
    assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE)
