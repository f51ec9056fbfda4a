"""`kev run --gdb` on the command line."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import kev
from kev.gdb.launch import debug
from tests.gdb.debugging import guest_file
from tests.test_imports import KEV, imported

NEEDS_LLDB = pytest.mark.skipif(shutil.which("lldb") is None, reason="there is no lldb")


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kev", "run", *options]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


def test_a_guest_that_no_debugger_comes_for_runs_as_ever() -> None:
    outcome = run("hypercalls", "--gdb", "0")
    assert outcome.returncode == 42
    assert outcome.stdout == run("hypercalls").stdout
    assert "kev: gdb: listening on 127.0.0.1:" in outcome.stderr
    assert "kev: loaded 1 of 65,536 pages" in outcome.stderr


def test_a_death_that_no_debugger_sees_ends_the_run() -> None:
    outcome = run("triple", "--gdb", "0")
    assert outcome.returncode == 3
    assert "triple fault" in outcome.stderr


def test_waiting_for_a_debugger_has_a_time_limit() -> None:
    outcome = run("hypercalls", "--gdb", "0", "--wait", "--timeout", "0.5")
    assert outcome.returncode == 124
    assert "listening on 127.0.0.1" in outcome.stderr
    assert outcome.stdout == ""


@pytest.mark.parametrize(
    ("options", "mistake"),
    [
        (["--wait"], "--wait: there is no debugger to wait for: add --gdb"),
        (["--gdb", "nowhere"], "--gdb nowhere: give [HOST:]PORT"),
        (["--gdb", "unix:/nowhere/socket"], "cannot be listened on: No such file or directory"),
        (["--gdb", "0", "--smp", "65"], "65"),
    ],
)
def test_a_mistake_is_named(options: list[str], mistake: str) -> None:
    outcome = run("hypercalls", *options)
    assert outcome.returncode == 2
    assert mistake in outcome.stderr
    assert "listening" not in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = run("hypercalls", "--gdb", str(port))
    assert outcome.returncode == 2
    assert f"--gdb 127.0.0.1:{port}: cannot be listened on: Address already in use" in outcome.stderr


def test_the_socket_is_gone_afterwards(tmp_path: Path) -> None:
    assert run("hypercalls", "--gdb", f"unix:{tmp_path}/socket").returncode == 42
    assert not list(tmp_path.iterdir())


def test_runs_without_a_debugger_import_nothing_of_it() -> None:
    assert not any(module.startswith("kev.gdb") for module in imported(KEV, "run", "hypercalls"))


@NEEDS_LLDB
def test_lldb_debugs_a_guest(tmp_path: Path) -> None:
    kernel = guest_file("lost-update", tmp_path)
    kev = subprocess.Popen(
        [sys.executable, "-m", "kev", "run", "lost-update", "--smp", "1", "--gdb", "0", "--wait"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert kev.stderr is not None
    place = kev.stderr.readline().split()[4].rstrip(";,")
    commands = [
        "breakpoint set -n work",
        "continue",
        "bt",
        "register read rip cr0",
        "thread step-inst",
        "breakpoint delete -f",
        "continue",
    ]
    said = subprocess.run(
        ["lldb", "--batch", "--no-lldbinit", str(kernel), "-o", f"gdb-remote {place}"]
        + [word for command in commands for word in ("-o", command)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    ).stdout
    printed, _ = kev.communicate(timeout=60)
    assert "stop reason = breakpoint 1.1" in said
    assert "`main" in said
    assert "cr0 = 0x" in said
    assert "stop reason = instruction step into" in said
    assert "exited with status = 0" in said
    assert printed == "4 of 4 increments counted\n"


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        *(({name: None}, f"{name}: None: it must be something to call") for name in ("listening", "output", "log")),
        *(
            ({name: 3}, f"{name}: 3: it must be something to call")
            for name in ("listening", "trace_exits", "warn", "at_start", "at_end")
        ),
        ({"address": 1234}, "address: 1234: it must be a text"),
        ({"wait": 1}, "wait: 1: it must be true or false"),
        ({"logs": 3}, "logs: 3: it must be names of logs"),
    ],
)
def test_a_wrong_argument_of_debug_is_refused_by_name(wish: dict[str, object], message: str) -> None:
    right = {"address": "127.0.0.1:0", "wait": False, "listening": print, "output": print}
    with pytest.raises(kev.KevError) as caught:
        debug("hypercalls", **(right | wish))  # type: ignore[arg-type]
    assert str(caught.value) == message
