"""Clients that go away at every moment, say half of what they want, or nonsense: none leaves anything, or hurts another."""

import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.service.api.serving import Server

_BODY = b'{"spec": {"image": "hypercalls"}, "start": false, "name": "half"}'
_CREATION = (
    b"POST /v1/machines HTTP/1.1\r\nHost: kev\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_BODY)
) + _BODY
_STREAMS = {
    "events": b"GET /v1/events HTTP/1.1\r\nHost: kev\r\n\r\n",
    "follow": b"GET /v1/machines/waits/console?follow=1&offset=1000 HTTP/1.1\r\nHost: kev\r\n\r\n",
    "console": b"GET /v1/machines/waits/console/stream HTTP/1.1\r\nHost: kev\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
}


@pytest.fixture(autouse=True)
def healthy(server: Server) -> Iterator[None]:
    """A machine waits. Behind each test nothing is left, no fault was logged, and the service answers."""
    server.create("hypercalls", name="waits", start=False)
    yield
    for name in ("half", "waits"):
        server.client.delete(f"/v1/machines/{name}")
    while "kev_requests_open 1.0" not in server.client.get("/metrics").text:
        """Streams end as soon as it is noticed that their clients are gone."""
    assert server.client.get("/v1/machines").json() == {"machines": []}
    assert not [event for event in server.events() if event["event"] == "fault"]


def say(server: Server, data: bytes, *, reset: bool = False) -> None:
    """Says it, and is gone."""
    with server.connection() as connection:
        connection.sendall(data)
        if reset:
            connection.shutdown(socket.SHUT_RD)


@pytest.mark.parametrize("end", [1, 20, 60, len(_CREATION) - len(_BODY) - 1, len(_CREATION) - len(_BODY), len(_CREATION) - 1])
def test_a_request_that_is_cut_short_makes_no_machine(server: Server, end: int) -> None:
    say(server, _CREATION[:end])


def test_a_client_that_is_gone_before_the_answer_finds_its_machine_by_name(server: Server) -> None:
    say(server, _CREATION)
    while server.client.get("/v1/machines/half").status_code == 404:
        """It is being made."""


@pytest.mark.parametrize("name", list(_STREAMS))
@pytest.mark.parametrize("reset", [False, True])
def test_streams_end_when_their_client_is_gone(server: Server, name: str, reset: bool) -> None:
    for _ in range(10):
        say(server, _STREAMS[name], reset=reset)
    with server.connection() as connection:
        connection.sendall(_STREAMS[name])
        if name != "follow":
            assert connection.recv(1)


def test_a_stream_of_a_machine_that_is_deleted_comes_to_its_end(server: Server) -> None:
    with server.connection() as console, server.connection() as follow:
        console.sendall(_STREAMS["console"])
        follow.sendall(_STREAMS["follow"])
        assert console.recv(1)
        server.client.delete("/v1/machines/waits")
        for connection in (console, follow):
            assert connection.recv(65536)


def test_bytes_that_are_no_frames_close_a_stream(server: Server) -> None:
    for nonsense in (
        b"\xff" * 100,
        b"\x81\x05abc",
        b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff" + bytes(100),
        b"\x89\x7f" + bytes(50),
    ):
        with server.connection() as connection:
            connection.sendall(_STREAMS["console"])
            assert connection.recv(65536).startswith(b"HTTP/1.1 101")
            connection.sendall(nonsense)


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.one_of(
        st.binary(max_size=300),
        st.builds(lambda cut, more: _CREATION[:cut] + more, st.integers(0, len(_CREATION) - 1), st.binary(min_size=1, max_size=40)),
        st.just(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(100)),
        st.builds(lambda target: b"GET " + target + b" HTTP/1.1\r\nHost: kev\r\n\r\n", st.binary(max_size=40)),
    )
)
def test_nonsense_is_answered_or_closed_and_hurts_nobody(server: Server, data: bytes) -> None:
    say(server, data)
    assert server.client.get("/healthz").status_code == 200
    server.client.delete("/v1/machines/half")
