"""How long requests to `kev serve` take while guests run, by a client over HTTP."""

import statistics
import time
from collections import defaultdict
from typing import Final

import trio

from bench.measurement import Measurement, Result
from bench.service_client import Client, client
from bench.service_process import serving

TITLE: Final = "requests to the service while 16 guests run"
_GUESTS: Final = 16
"""Every other one polls its console; the others spin without an end."""
_REQUESTS: Final = 400
"""Of each kind."""
_QUICK: Final = 20
_TARGET_MS: Final = 50.0
_MACHINE: Final = b'{"name": "another", "spec": {"image": "hypercalls"}}'
_KINDS: Final = (
    ("GET", "/v1", b""),
    ("GET", "/v1/machines", b""),
    ("GET", "/v1/machines/guest-0", b""),
    ("GET", "/v1/machines/guest-0/console", b""),
    ("GET", "/metrics", b""),
    ("POST", "/v1/machines/guest-2/input", b"\n"),
    *(
        ("GET", f"/v1/machines/guest-{guest}/{what}", b"")
        for guest in (4, 5)
        for what in ("report", "pages", "registers", "memory?gpa=0x100000&length=16", "screenshot")
    ),
    ("POST", "/v1/machines/guest-7/pause", b""),
    ("POST", "/v1/machines/guest-7/resume", b""),
    ("POST", "/v1/machines", _MACHINE),
    ("DELETE", "/v1/machines/another", b""),
)
"""In their order, again and again."""


def measure(quick: bool) -> list[Result]:
    with serving() as (socket, _):
        return trio.run(_measure, socket, _QUICK if quick else _REQUESTS)


async def _measure(socket: str, requests: int) -> list[Result]:
    async with client(socket) as ours:
        idle = [await _milliseconds(ours, *_KINDS[0]) for _ in range(requests)]
        for guest in range(_GUESTS):
            image = ("echo", "spin")[guest % 2]
            await ours.done("POST", "/v1/machines", f'{{"name": "guest-{guest}", "spec": {{"image": "{image}"}}}}'.encode())
        times: dict[str, list[float]] = defaultdict(list)
        for _ in range(requests):
            for method, path, body in _KINDS:
                times[_name(method, path)].append(await _milliseconds(ours, method, path, body))
    together = [milliseconds for values in times.values() for milliseconds in values]
    return [
        *_percentiles("no guest: GET /v1", idle),
        *(found for name, values in times.items() for found in _percentiles(name, values)),
        *_percentiles("all of these", together, _TARGET_MS),
    ]


async def _milliseconds(ours: Client, method: str, path: str, body: bytes) -> float:
    began = time.perf_counter()
    await ours.done(method, path, body)
    return (time.perf_counter() - began) * 1e3


def _name(method: str, path: str) -> str:
    """Of a guest that polls, or one that spins."""
    path = path.partition("?")[0]
    head, guest, rest = path.partition("guest-")
    if not guest:
        return f"{method} {path}"
    return f"{method} {head}{('POLLS', 'SPINS')[int(rest.partition('/')[0]) % 2]}/{rest.partition('/')[2]}".rstrip("/")


def _percentiles(name: str, values: list[float], target: float | None = None) -> list[Result]:
    parts = statistics.quantiles(values, n=100)
    return [
        Measurement(f"{name}: p50", "ms", [parts[49]]),
        Measurement(f"{name}: p95", "ms", [parts[94]]),
        Measurement(f"{name}: p99", "ms", [parts[98]], target),
    ]
