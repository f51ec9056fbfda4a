"""How long requests to `kev serve` take while guests run, by clients over HTTP."""

import http.client
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.measurement import Measurement, Result, repeat

TITLE: Final = "requests to the service while 16 guests run"
_ROUNDS: Final = 7
_GUESTS: Final = 16
_REQUESTS: Final = 300
_REQUESTS_TO_GUESTS: Final = 20
"""In a round."""
_TARGET_MS: Final = 50.0
_PATIENCE: Final = 60.0
_BY_SERVICE: Final = (
    ("GET", "/v1/machines/guest-0", b""),
    ("GET", "/v1/machines/guest-1/console", b""),
    ("GET", "/v1/machines", b""),
    ("GET", "/metrics", b""),
)
"""What the service answers by itself."""
_BY_GUEST: Final = (("POST", "/v1/machines/guest-2/input", b"\n"), ("GET", "/v1/machines/guest-3/registers", b""))
"""What it asks the guest's process for, which has to get a processor first."""


def measure(quick: bool) -> list[Result]:
    with TemporaryDirectory() as name, _service(Path(name)) as client:
        idle = repeat(_ROUNDS, quick, lambda: _round(client, _REQUESTS, ("GET", "/v1", b"")))
        for number in range(_GUESTS):
            client.ask("POST", "/v1/machines", f'{{"name": "guest-{number}", "spec": {{"image": "echo"}}}}'.encode())
        busy = repeat(_ROUNDS, quick, lambda: _round(client, _REQUESTS, *_BY_SERVICE))
        asked = repeat(_ROUNDS, quick, lambda: _round(client, _REQUESTS_TO_GUESTS, *_BY_GUEST))
        made = repeat(_ROUNDS, quick, lambda: {"made": _make(client)})
    return [
        Measurement("no guest: half of the requests", "ms", idle["median"]),
        Measurement("no guest: 99 % of the requests", "ms", idle["p99"]),
        Measurement(f"{_GUESTS} guests that poll: half of the requests", "ms", busy["median"]),
        Measurement(f"{_GUESTS} guests that poll: 99 % of the requests", "ms", busy["p99"], _TARGET_MS),
        Measurement(f"{_GUESTS} guests that poll: half of those that a guest's process answers", "ms", asked["median"]),
        Measurement(f"{_GUESTS} guests that poll: another machine is made, runs and is removed", "ms", made["made"]),
    ]


class _Client:
    """One that keeps its connection."""

    def __init__(self, path: Path) -> None:
        self._connection: Final = http.client.HTTPConnection("kev")
        self._connection.sock = socket.socket(socket.AF_UNIX)
        self._connection.sock.connect(str(path))

    def ask(self, method: str, path: str, body: bytes) -> float:
        """Milliseconds."""
        headers = {"content-type": "application/json"} if body else {}
        began = time.perf_counter()
        self._connection.request(method, path, body or None, headers)
        answer = self._connection.getresponse()
        answer.read()
        assert answer.status < 300, f"{method} {path}: {answer.status}"
        return (time.perf_counter() - began) * 1e3

    def close(self) -> None:
        self._connection.close()


def _round(client: _Client, count: int, *kinds: tuple[str, str, bytes]) -> dict[str, float]:
    """So many requests, of these kinds in turn."""
    times = [client.ask(*kinds[number % len(kinds)]) for number in range(count)]
    return {"median": statistics.median(times), "p99": statistics.quantiles(times, n=100)[-1]}


def _make(client: _Client) -> float:
    body = b'{"name": "another", "spec": {"image": "hypercalls"}}'
    return sum(client.ask(*request) for request in (("POST", "/v1/machines", body), ("DELETE", "/v1/machines/another", b"")))


@contextmanager
def _service(folder: Path) -> Iterator[_Client]:
    errors = folder / "errors"
    words = [
        "--state-dir",
        str(folder / "state"),
        "--listen",
        f"unix:{folder}/kev.sock",
        "--on-shutdown",
        "stop",
        "--log-level",
        "warning",
    ]
    with open(errors, "wb") as out:
        process = subprocess.Popen([sys.executable, "-m", "kev", "serve", *words], stdin=subprocess.DEVNULL, stderr=out)
    try:
        end = time.monotonic() + _PATIENCE
        while "listening" not in errors.read_text():
            assert process.poll() is None, errors.read_text()
            assert time.monotonic() < end, errors.read_text()
            time.sleep(0.05)
        client = _Client(folder / "kev.sock")
        yield client
        client.close()
    finally:
        process.terminate()
        process.wait(_PATIENCE)
