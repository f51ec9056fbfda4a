"""`kev serve --firecracker` as a process, and a client of Firecracker that is not of this house: microheart's."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from click.testing import CliRunner
from microheart import api as microheart

from kev.cli.main import kev
from tests.service.firecracker.api import guest_file

ENOUGH = 60
"""Seconds."""


class Server:
    """The process; its serial line is at the other ends of pipes."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kev", "serve", "--firecracker", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def listening(self) -> None:
        assert _stream(self.process.stderr).readline().startswith(b"kev: listening on unix:")

    def expect(self, text: bytes) -> None:
        found = b""
        while text not in found:
            found += (byte := _stream(self.process.stdout).read(1))
            assert byte, found

    def type(self, text: bytes) -> None:
        line = _stream(self.process.stdin)
        line.write(text)
        line.flush()

    def end(self) -> tuple[int, bytes, bytes]:
        """Exit code, and what is left of standard output and error."""
        output, errors = self.process.communicate(timeout=ENOUGH)
        return self.process.returncode, output, errors


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    started: list[Server] = []
    yield started
    for server in started:
        server.process.kill()
        server.process.communicate()


def begin(servers: list[Server], *words: str) -> Server:
    servers.append(Server(*words))
    return servers[-1]


@pytest.mark.slow
def test_a_foreign_client_starts_saves_and_ends_a_machine_that_goes_on_in_another_process(
    servers: list[Server], tmp_path: Path
) -> None:
    socket = str(tmp_path / "api")

    def ask(method: str, route: str, **body: Any) -> Any:
        return microheart.request(socket, method, route, body or None)

    first = begin(servers, "--api-sock", socket, "--id", "one")
    first.listening()
    assert ask("GET", "/")["id"] == "one"
    ask("PUT", "/boot-source", kernel_image_path=guest_file(tmp_path, "echo"), boot_args="console=ttyS0 reboot=k panic=1")
    ask("PUT", "/machine-config", vcpu_count=1, mem_size_mib=64)
    with pytest.raises(RuntimeError, match=r"400: .*fault_message.*network-interfaces: machines have no network"):
        ask("PUT", "/network-interfaces/net1", iface_id="net1", host_dev_name="tap0")
    ask("PUT", "/actions", action_type="InstanceStart")
    first.expect(b"echo> ")
    first.type(b"here\n")
    first.expect(b"you said: here")
    ask("PATCH", "/vm", state="Paused")
    files = {"snapshot_path": str(tmp_path / "state"), "mem_file_path": str(tmp_path / "memory")}
    ask("PUT", "/snapshot/create", **files)
    first.process.send_signal(signal.SIGTERM)
    assert first.end()[0] == 128 + signal.SIGTERM
    assert not os.path.exists(socket)

    second = begin(servers, "--api-sock", socket)
    second.listening()
    backend = {"backend_type": "File", "backend_path": files["mem_file_path"]}
    ask("PUT", "/snapshot/load", snapshot_path=files["snapshot_path"], mem_backend=backend, resume_vm=True)
    second.type(b"there\nexit 9\n")
    code, output, _ = second.end()
    assert code == 9
    assert b"you said: there" in output


@pytest.mark.slow
def test_a_configuration_file_starts_a_machine_without_an_api(servers: list[Server], tmp_path: Path) -> None:
    file = tmp_path / "configuration"
    file.write_text(json.dumps({"boot-source": {"kernel_image_path": guest_file(tmp_path, "hypercalls")}}))
    assert begin(servers, "--no-api", "--config-file", str(file)).end() == (42, b"printed by a hypercall\n", b"")


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("--in-process",)], ids=["worker", "in process"])
def test_a_configuration_file_that_makes_no_sense_is_refused_in_a_line(
    servers: list[Server], tmp_path: Path, words: tuple[str, ...]
) -> None:
    file = tmp_path / "configuration"
    for text, problem in (("{}", "missing field `boot-source`"), ("[", "Expecting value at line 1 column 2")):
        file.write_text(text)
        end = begin(servers, "--no-api", "--config-file", str(file), *words).end()
        assert end == (2, b"", f"kev: {file}: {problem}\n".encode())


@pytest.mark.slow
def test_a_socket_of_somebody_else_is_left_alone(servers: list[Server], tmp_path: Path) -> None:
    socket = str(tmp_path / "api")
    begin(servers, "--api-sock", socket).listening()
    code, _, errors = begin(servers, "--api-sock", socket).end()
    assert code == 2
    assert errors.startswith(f"kev: Failed to open the API socket at: {socket}. Check that it is not already used: ".encode())
    assert microheart.request(socket, "GET", "/")["state"] == "Not started"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--firecracker", "--id", "a b"), "--id: 'a b': it must have 1 to 64 letters, digits and hyphens"),
        (("--firecracker", "--no-api"), "--no-api: nobody could start the machine: add --config-file FILE"),
        (("--firecracker", "--max-vcpus", "2"), "--max-vcpus: it has no meaning with --firecracker"),
        (("--config-file", "x"), "--config-file: it is for --firecracker"),
    ],
)
def test_options_that_make_no_sense_are_refused(words: tuple[str, ...], problem: str) -> None:
    outcome = CliRunner().invoke(kev, ["serve", *words])
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (2, "", f"kev: {problem}\n")
