"""A guest that takes over its worker: what it can still do, tried from inside."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from kev.service.workers.confinement import ALL, Confinement, Measure, describe
from kev.service.workers.confinement.machine import in_force
from kev.service.workers.fork_server_process import ForkServerProcess
from kev.service.workers.homes import worker_homes
from kev.spec.machine_spec import MachineSpec
from tests.service.attempts import ATTEMPT, printed_by
from tests.service.watcher import Watcher

HERE = in_force(ALL)
needs_seccomp = pytest.mark.skipif(not HERE.seccomp, reason="this kernel has no seccomp")
needs_landlock = pytest.mark.skipif(not HERE.landlock, reason="this kernel has no Landlock")

CONFINED = (
    ATTEMPT
    + """
import contextlib, ctypes, json, os, resource, signal, socket, sys, tempfile, threading
from kev.machine.api import opened, wanted_machine
from kev.service.workers.confinement import Confinement
from kev.service.workers.confinement.machine import MachineConfinement
from kev.spec.machine_spec import MachineSpec

spec, wanted, attempts = MachineSpec.from_json(sys.argv[1]), Confinement(*json.loads(sys.argv[2])), sys.argv[3]
confinement = MachineConfinement(wanted)
confinement.before(spec)
with opened(wanted_machine(spec, {})) as machine:
    confinement.after(spec, machine)
    print(json.dumps(attempt(attempts, globals())))
"""
)


def attempted(folder: Path, spec: MachineSpec, attempts: dict[str, str], wanted: Confinement = HERE) -> dict[str, str]:
    """What comes of some Python code in a process that is confined to a machine: the name of what it raises, or `done`."""
    return printed_by(CONFINED, folder, [spec.to_json(), json.dumps(wanted), json.dumps(attempts)])


@needs_seccomp
def test_neither_programs_nor_processes_nor_sockets_can_be_made(folder: Path) -> None:
    attempts = {
        "program": "os.execv('/bin/true', ['true'])",
        "process": "os.fork() or os._exit(0)",
        "socket": "socket.socket()",
        "local socket": "socket.socket(socket.AF_UNIX)",
        "trace": "assert ctypes.CDLL(None).ptrace(0, 0, 0, 0) == -1; raise PermissionError",
        "signal to the parent": "os.kill(os.getppid(), 0)",
        "signal to all": "os.kill(0, 0)",
        "limit of the parent": "resource.prlimit(os.getppid(), resource.RLIMIT_CORE)",
        "mount": "assert ctypes.CDLL(None).umount2(b'/', 0) == -1; raise PermissionError",
        "rights of a file": "os.fchmod(0, 0o777)",
        "user": "os.setuid(0)",
    }
    assert set(attempted(folder, MachineSpec("hypercalls"), attempts).values()) == {"PermissionError"}


@needs_seccomp
def test_what_a_machine_needs_still_works(folder: Path) -> None:
    attempts = {
        "thread": "thread = threading.Thread(target=int); thread.start(); thread.join()",
        "pair of sockets": "for end in socket.socketpair(): end.close()",
        "signal to itself": "os.kill(os.getpid(), 0)",
        "late import": "import kev.dev.display.picture, kev.postmortem.death, zstandard",
        "registers": "machine.registers()",
        "end": "machine.places()",
    }
    assert set(attempted(folder, MachineSpec("hypercalls"), attempts).values()) == {"done"}


@needs_landlock
def test_no_other_file_is_read_or_written(folder: Path) -> None:
    secret, disk = folder / "secret", folder / "disk"
    secret.write_text("secret")
    disk.write_bytes(bytes(4096))
    attempts = {
        "read": f"open({str(secret)!r})",
        "write": f"open({str(secret)!r}, 'r+b')",
        "beside the own disk": f"open({str(disk)!r} + '.new', 'w')",
        "own disk in place of another": f"os.rename({str(disk)!r}, {str(secret)!r})",
        "list": f"os.listdir({str(folder)!r})",
        "make": f"open({str(folder / 'new')!r}, 'w')",
        "make here": "open('new', 'w')",
        "make elsewhere": "tempfile.mkstemp(dir='/tmp')",
        "remove": f"os.unlink({str(secret)!r})",
        "rename": f"os.rename({str(secret)!r}, {str(folder / 'new')!r})",
        "other processes": "open(f'/proc/{os.getppid()}/environ', 'rb').read()",
        "passwords": "open('/etc/passwd')",
        "devices": "open('/dev/tty')",
        "own package": "import kev; open(kev.__file__, 'r+')",
    }
    results = attempted(folder, MachineSpec("block", disks=[str(disk)]), attempts)
    assert {name for name, result in results.items() if result not in ("PermissionError", "FileNotFoundError", "OSError")} == set()
    assert secret.read_text() == "secret"


@needs_landlock
def test_only_the_folder_of_a_record_can_be_written_to(folder: Path) -> None:
    record, beside = folder / "records", folder / "beside"
    record.mkdir()
    beside.mkdir()
    attempts = {"record": f"open({str(record / 'x')!r}, 'w')", "beside": f"open({str(beside / 'x')!r}, 'w')"}
    results = attempted(folder, MachineSpec("hypercalls", paging=f"record={record / 'pages'}"), attempts)
    assert results == {"record": "done", "beside": "PermissionError"}


def test_memory_files_and_descriptors_are_limited(folder: Path) -> None:
    attempts = {
        "memory": "import mmap; mmap.mmap(-1, 2 << 30)",
        "some memory": "import mmap; mmap.mmap(-1, 256 << 20)",
        "descriptors": "with contextlib.ExitStack() as kept: [kept.callback(os.close, os.dup(0)) for _ in range(300)]",
        "core files": "assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)",
        "limits cannot be raised": "resource.setrlimit(resource.RLIMIT_CORE, (1, 1))",
    }
    results = attempted(folder, MachineSpec("hypercalls"), attempts)
    assert (results["memory"], results["some memory"], results["core files"]) == ("OSError", "done", "done")
    assert results["descriptors"] == "OSError"
    assert results["limits cannot be raised"] in ("ValueError", "PermissionError")


@needs_seccomp
@needs_landlock
def test_a_machine_behind_a_url_reaches_the_network_but_no_files(folder: Path, served: str) -> None:
    (folder / "secret").write_text("secret")
    attempts = {
        "socket": "socket.socket().close()",
        "program": "os.execv('/bin/true', ['true'])",
        "read": f"open({str(folder / 'secret')!r})",
        "make": f"open({str(folder / 'new')!r}, 'w')",
        "page": "machine.vm.pager.image",
    }
    results = attempted(folder, MachineSpec(served), attempts)
    assert results.pop("socket") == results.pop("page") == "done"
    assert set(results.values()) == {"PermissionError"}


async def test_a_worker_has_everything_that_the_host_offers(forked_from: ForkServerProcess) -> None:
    async with worker_homes(ready=1, forked_from=forked_from) as homes:
        home = await homes.open(MachineSpec("spin"), Watcher())
        status = proc_status(home.process)
        assert status["NoNewPrivs"] == "1" if HERE.seccomp or HERE.landlock else True
        assert status["Seccomp"] == ("2" if HERE.seccomp else "0")
        if HERE.capabilities:
            assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == 0
        assert status["Threads"] == "1"
        await home.aclose()


async def test_a_measure_that_is_not_wanted_is_not_taken(forked_from: ForkServerProcess) -> None:
    none = Confinement(seccomp=False, landlock=False, capabilities=False, limits=False)
    async with worker_homes(ready=1, confinement=none, forked_from=forked_from) as homes:
        home = await homes.open(MachineSpec("spin"), Watcher())
        assert proc_status(home.process)["Seccomp"] == "0"
        await home.aclose()
    assert {measure.in_force for measure in describe(none)} == {False}


def test_every_measure_is_described() -> None:
    measures = describe()
    assert [measure.name for measure in measures] == list(Confinement._fields)
    assert all(measure.detail for measure in measures)
    assert describe(Confinement(landlock=False))[1] == Measure("landlock", False, "not wanted")


def proc_status(process: int) -> dict[str, str]:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.fixture
def served() -> Iterator[str]:
    """The URL of a guest."""
    from kev.guests.images import open_root_file_system

    with open_root_file_system() as files:
        image = files.open("hypercalls").read()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
            part = image[int(first) : int(last) + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(image)}")
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            self.wfile.write(part)

        def log_message(self, *_: Any) -> None:
            """Tests are quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/kernel"
    server.shutdown()
    thread.join()
    server.server_close()
