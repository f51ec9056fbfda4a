"""How a service begins: its sockets, systemd, what is missing."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kev.service.serving.sockets import ListenError, listen
from kev.service.serving.token import TokenError, read_token
from tests.service.api.serving import Server


def refused(folder: Path, *words: str, **environment: str) -> str:
    """What `kev serve` says when it does not begin."""
    process = subprocess.run(
        [sys.executable, "-m", "kev", "serve", "--state-dir", str(folder / "state"), *words],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 2, process.stderr
    (line,) = process.stderr.splitlines()
    return line


def test_a_socket_is_its_owners_and_one_that_is_left_is_replaced(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "kev.sock"))
    left.close()
    with Server(tmp_path, "--in-process") as server:
        assert server.socket.stat().st_mode & 0o777 == 0o600
        assert "another service listens there" in refused(tmp_path, "--listen", f"unix:{server.socket}")
        other = tmp_path / "other.sock"
        assert "another `kev serve` uses it" in refused(tmp_path, "--listen", f"unix:{other}")
        assert not other.exists()
        assert server.client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("unix:{folder}/file", "no socket"),
        ("unix:", "a path follows"),
        ("unix:{folder}/none/kev.sock", "No such file"),
        ("unix:" + "x" * 200, "cannot be listened at"),
        ("somewhere", "unix:PATH or HOST:PORT"),
        ("127.0.0.1:99999", "0 to 65535"),
    ],
)
def test_what_cannot_be_listened_at_is_refused_and_nothing_is_left(tmp_path: Path, address: str, expected: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ListenError, match=expected):
        listen([f"unix:{tmp_path}/first.sock", address.format(folder=tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["", "a\nb", "kev.example:80"])
def test_names_that_no_client_can_ask_for_are_refused(tmp_path: Path, name: str) -> None:
    assert "--host-name: " in refused(tmp_path, "--listen", f"unix:{tmp_path}/kev.sock", "--host-name", name)


def test_over_tcp_there_has_to_be_a_token(tmp_path: Path) -> None:
    assert "--token-file FILE" in refused(tmp_path, "--listen", "127.0.0.1:0")


@pytest.mark.parametrize(
    ("token", "mode", "expected"), [("short", 0o600, "16 or more"), ("a" * 20, 0o644, "chmod 600"), ("a b" * 9, 0o600, "no space")]
)
def test_tokens_that_protect_nothing_are_refused(tmp_path: Path, token: str, mode: int, expected: str) -> None:
    file = tmp_path / "token"
    file.write_text(token)
    file.chmod(mode)
    with pytest.raises(TokenError, match=expected):
        read_token(str(file))


def test_without_what_it_needs_the_service_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "hypercorn.py").write_text("raise ModuleNotFoundError('none', name='hypercorn')")
    line = refused(tmp_path, PYTHONPATH=os.pathsep.join([str(tmp_path), *filter(None, sys.path)]))
    assert line == "kev: hypercorn is not installed: pip install 'kev-hypervisor[service]'"


@pytest.mark.slow
def test_systemd_passes_sockets_and_is_told_how_the_service_is(tmp_path: Path) -> None:
    """As systemd does it: a socket that listens is descriptor 3, and another one takes what the service says."""
    listening, told = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with listening, told:
        listening.bind(str(tmp_path / "passed.sock"))
        listening.listen()
        told.bind(str(tmp_path / "notify"))
        told.settimeout(60)
        program = f"""
import os
from kev.__main__ import main
os.dup2({listening.fileno()}, 3)
os.environ["LISTEN_PID"] = str(os.getpid())
main()
"""
        process = subprocess.Popen(
            [sys.executable, "-c", program, "serve", "--in-process", "--state-dir", str(tmp_path / "state")],
            env={**os.environ, "LISTEN_FDS": "1", "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000"},
            pass_fds=[listening.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        with process:
            said: set[bytes] = set()
            while not {b"READY=1", b"WATCHDOG=1"} <= said:
                said.add(told.recv(100))
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(tmp_path / "passed.sock"))
                client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                assert b"200" in client.recv(100)
            process.terminate()
            while b"STOPPING=1" not in said:
                said.add(told.recv(100))
            assert process.wait(60) == 0
        assert (tmp_path / "passed.sock").exists(), "it is systemd's"
