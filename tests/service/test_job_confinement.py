"""What a job can still do, tried from inside."""

import json
import os
from pathlib import Path

import pytest

from kev.service.workers.confinement import ALL
from kev.service.workers.confinement.machine import in_force
from tests.service.attempts import ATTEMPT, printed_by

HERE = in_force(ALL)
CONFINED = (
    ATTEMPT
    + """
import ctypes, json, os, socket, subprocess, sys, tempfile
from kev.service.jobs.confined import Rules, confine

confine(Rules(*json.loads(sys.argv[1])))
print(json.dumps(attempt(sys.argv[2], globals())))
"""
)


def attempted(folder: Path, attempts: dict[str, str]) -> dict[str, str]:
    """What comes of some Python code in the process of a job that may read the file `read` and write in the folder `own`."""
    (folder / "own").mkdir()
    (folder / "read").write_text("image")
    (folder / "secret").write_text("secret")
    rules = [[str(folder / "read")], [str(folder / "own")], False]
    return printed_by(CONFINED, folder, [json.dumps(rules), json.dumps(attempts)])


@pytest.mark.skipif(not HERE.landlock, reason="this kernel has no Landlock")
def test_a_job_reads_its_image_writes_in_its_folder_and_reaches_no_other_file(folder: Path) -> None:
    allowed = {
        "image": "open('read').read()",
        "file": "open('own/file', 'w').write('x')",
        "folder": "os.mkdir('own/folder'); os.rmdir('own/folder')",
        "other name": "os.replace('own/file', 'own/other')",
        "child": "subprocess.run([sys.executable, '-c', ''], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)",
    }
    forbidden = {
        "secret": "open('secret')",
        "secret of a child": "subprocess.run([sys.executable, '-c', 'open(\"secret\")'], check=True, stderr=subprocess.DEVNULL)",
        "image written": "open('read', 'r+')",
        "new": "open('new', 'w')",
        "passwords": "open('/etc/passwd')",
        "environment of another": "open(f'/proc/{os.getppid()}/environ', 'rb').read()",
        "remove": "os.unlink('secret')",
    }
    results = attempted(folder, allowed | forbidden)
    assert {name for name, result in results.items() if result == "done"} == set(allowed)
    assert (folder / "secret").read_text() == "secret"


@pytest.mark.skipif(not HERE.seccomp, reason="this kernel has no seccomp")
def test_a_job_has_processes_and_none_that_leaves_it_or_reaches_out(folder: Path) -> None:
    attempts = {
        "process": "os.waitpid(os.fork() or os._exit(0), 0)",
        "group": "os.setpgid(0, 0)",
        "socket": "socket.socket()",
        "local socket": "socket.socket(socket.AF_UNIX)",
        "namespace": "assert ctypes.CDLL(None).unshare(0x10000000) == -1; raise PermissionError",
        "namespace of a process": "assert ctypes.CDLL(None).syscall(56, 0x10000011, 0, 0, 0, 0) == -1; raise PermissionError",
        "trace": "assert ctypes.CDLL(None).ptrace(0, 0, 0, 0) == -1; raise PermissionError",
    }
    if os.uname().machine != "x86_64":
        del attempts["namespace of a process"]
    results = attempted(folder, attempts)
    assert results.pop("process") == "done"
    assert set(results.values()) == {"PermissionError"}
