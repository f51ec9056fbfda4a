"""`kev run` on a terminal and under signals: it ends as it should, and the terminal is as it was."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from kev.cli.interrupts import interrupt_behind
from kev.guests.catalogue import root_file_system
from tests.cli.importing import ASKED_FIRST
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


def raised(error: BaseException, *, amid: BaseException | None = None) -> BaseException:
    """`error` as it is when it was raised while another one was."""
    try:
        if amid is None:
            raise error
        try:
            raise amid
        finally:
            raise error
    except BaseException as caught:
        return caught


def test_an_interrupt_is_found_whatever_was_made_of_it() -> None:
    interrupt = KeyboardInterrupt()
    made = [
        interrupt,
        raised(RuntimeError(), amid=interrupt),
        BaseExceptionGroup("", [ValueError(), BaseExceptionGroup("", [interrupt])]),
        raised(ValueError(), amid=BaseExceptionGroup("", [interrupt])),
    ]
    assert [interrupt_behind(error) for error in made] == [interrupt] * 4
    assert interrupt_behind(raised(ValueError(), amid=KeyError())) is None


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


def test_whoever_interrupts_a_run_does_not_wait_for_names_from_a_slow_source(sessions: list[Session]) -> None:
    session = begin(sessions, *KEV, "gKeOS", "--source-latency", "60ms")
    session.expect(b"a KeOS-style guest kernel")
    os.kill(session.process.pid, signal.SIGTERM)
    assert session.end() == 143
    (line,) = re.findall(rb"ended by SIGTERM: (.*)\r\n", session.output)
    assert b" in " not in line  # its names are more reads than may be made


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
    ("number", "said"),
    [(signal.SIGINT, b"interrupted"), (signal.SIGTERM, b"ended by SIGTERM"), (signal.SIGHUP, b"ended by SIGHUP")],
)
@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("kev.errors", ["guests"]),
        ("kev.cli.main", ["guests"]),
        ("click", ["guests"]),
        ("kev.cli.launch", ["run", "hypercalls"]),
        ("kev.machine.builder", ["run", "hypercalls"]),
        ("kev.engine.amdv.engine", ["run", "hypercalls"]),
    ],
)
def test_a_signal_while_modules_are_imported_is_one_line(module: str, arguments: list[str], number: int, said: bytes) -> None:
    program = f"""{ASKED_FIRST}
import os, signal
class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {int(number)})
ask_first(Interrupter())
from kev.__main__ import main
main()
"""
    command = [sys.executable, "-c", program, *arguments]
    process = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=ENOUGH, check=False)
    assert process.returncode == 128 + number
    assert process.stderr == b"kev: %s\n" % said


@pytest.mark.parametrize(("number", "said"), [(signal.SIGINT, b"interrupted"), (signal.SIGTERM, b"ended by SIGTERM")])
def test_a_signal_is_expected_before_anything_large_is_imported(number: int, said: bytes) -> None:
    program = f"""
import os, sys
class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == "enum":
            os.kill(os.getpid(), {int(number)})
sys.meta_path.insert(0, Interrupter())
from kev.__main__ import main
main()
"""
    command = [sys.executable, "-c", program, "guests"]
    process = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=ENOUGH, check=False)
    assert process.returncode == 128 + number
    assert process.stderr == b"kev: %s\n" % said


DROPPED: Final = """
import signal, sys
def trace(frame, event, arg):
    if frame.f_code.co_name == "guarded":
        sys.settrace(None)
        signal.raise_signal(signal.SIGTERM)
import kev.machine.launcher
from kev.__main__ import main
sys.settrace(trace)
main()
"""
"""A signal comes when the emulated CPU has called back, and nobody can catch an exception yet."""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tour", "jos", "mbmap=spin"], "kev: ended by SIGTERM\n"),
        (["ept", "dump", "--run", "spin"], "kev: ended by SIGTERM: vCPU 0 at RIP"),
        (["run", "spin", "--snapshot-at", "output:never", "spin.snap"], "kev: ended by SIGTERM: vCPU 0 at RIP"),
        (
            ["ept", "dump", "--run", "spin", "--at", "output:never"],
            "the run has ended before output:never: ended by SIGTERM",
        ),
        (["ept", "walk", "0x1000", "--run", "spin"], "kev: ended by SIGTERM: vCPU 0 at RIP"),
        (["ept", "size", "--run", "spin"], "kev: ended by SIGTERM: vCPU 0 at RIP"),
        (["ept", "audit", "--run", "spin"], "kev: ended by SIGTERM: vCPU 0 at RIP"),
        (["jos", "run", "echo"], "kev: guest 1, echo: ended by SIGTERM: vCPU 0 at RIP"),
    ],
)
def test_a_signal_in_a_callback_of_the_emulated_cpu_is_not_lost(arguments: list[str], said: str) -> None:
    command = [sys.executable, "-c", DROPPED, *arguments]
    process = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ENOUGH, check=False)
    assert process.returncode == 143
    assert process.stderr.count("ended by SIGTERM") == 1
    assert said in process.stderr
    assert "Traceback" not in process.stderr


def test_the_interrupt_key_in_a_callback_reaches_a_trio_program_that_holds_a_machine() -> None:
    program = """
import signal, sys, trio, kev
def trace(frame, event, arg):
    if frame.f_code.co_name == "guarded":
        sys.settrace(None)
        signal.raise_signal(signal.SIGINT)
async def hold():
    async with kev.start("echo"):
        sys.settrace(trace)
        await trio.sleep_forever()
try:
    trio.run(hold)
except KeyboardInterrupt:
    print("interrupted")
"""
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=ENOUGH, check=False)
    assert process.stdout == "interrupted\n"
    assert process.stderr == ""


def test_a_line_that_a_signal_comes_behind_is_written_once() -> None:
    program = """
import signal, sys
def trace(frame, event, arg):
    if frame.f_code.co_name == "write" and event == "return":
        sys.settrace(None)
        signal.raise_signal(signal.SIGTERM)
    return trace
class Writer:
    def find_spec(self, name, path=None, target=None):
        if name == "kev.cli.fs":
            sys.settrace(trace)
            sys.stderr.write("written\\n")
sys.meta_path.insert(0, Writer())
from kev.__main__ import main
main()
"""
    command = [sys.executable, "-c", program, "fs", "ls"]
    process = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ENOUGH, check=False)
    assert process.returncode == 143
    assert process.stderr == "written\nkev: ended by SIGTERM\n"


@pytest.mark.parametrize(("base", "method"), [("object", "__del__"), ("io.RawIOBase", "close")])
def test_an_exception_that_is_dropped_while_an_object_is_deleted_comes_again(base: str, method: str) -> None:
    """A file's are dropped without a word."""
    program = f"""
import io, os, signal, sys
class Deleted({base}):
    def {method}(self):
        os.kill(os.getpid(), signal.SIGTERM)
class Deleter:
    def find_spec(self, name, path=None, target=None):
        if name == "kev.cli.fs":
            Deleted()
sys.meta_path.insert(0, Deleter())
from kev.__main__ import main
main()
"""
    reader, writer = os.pipe()
    command = [sys.executable, "-c", program, "fs", "cat", root_file_system(), "gKeOS"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.PIPE) as process:
        os.close(writer)  # and nobody reads: it would wait for ever
        said = process.communicate(timeout=ENOUGH)[1]
    os.close(reader)
    assert process.returncode == 143
    assert said == b"kev: ended by SIGTERM\n"


@pytest.mark.parametrize(
    ("words", "ready", "said"),
    [
        ("race explore --runs 100000000", b"runs", b" runs were made"),
        ("jos run echo", b"echo> ", b"kev: guest 1, echo: ended by SIGTERM"),
        ("bench boot hypercalls --rounds 100000", b"measuring", b"kev: stopped by SIGTERM"),
    ],
)
def test_two_signals_at_once_are_one_wish(sessions: list[Session], words: str, ready: bytes, said: bytes) -> None:
    session = begin(sessions, *KEV[:-1], *words.split())
    session.expect(ready)
    for _ in range(2):  # as from timeout(1), which tells the process, and its group
        os.kill(session.process.pid, signal.SIGTERM)
    assert session.end() == 143
    assert said in session.output


@pytest.mark.parametrize(
    ("words", "ready", "number"),
    [
        ("run echo", b"echo> ", signal.SIGHUP),
        ("run echo --contained", b"echo> ", signal.SIGHUP),
        ("jos run echo", b"echo> ", signal.SIGINT),
        ("race explore --runs 100000000", b"runs", signal.SIGINT),
    ],
)
def test_a_signal_that_is_ignored_ends_nothing(sessions: list[Session], words: str, ready: bytes, number: signal.Signals) -> None:
    script = f'trap "" {number.name[3:]}; exec "$@"'  # as nohup(1) does, and shells for what is in the background of a script
    session = begin(sessions, "sh", "-c", script, "sh", *KEV[:-1], *words.split())
    session.expect(ready)
    os.kill(session.process.pid, number)
    os.kill(session.process.pid, signal.SIGTERM)
    assert session.end() == 143
    assert number.name.encode() not in session.output
