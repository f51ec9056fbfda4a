"""Connections outlive answers that were ready before their requests were."""

import http.client
from collections.abc import Iterator

import pytest

from tests.service.api.serving import Server


@pytest.fixture
def connection(server: Server) -> Iterator[http.client.HTTPConnection]:
    """Of a client that does not connect again."""
    found = http.client.HTTPConnection("kev")
    found.auto_open = 0
    found.sock = server.connection()
    yield found
    found.close()


def begin(connection: http.client.HTTPConnection, path: str, length: int) -> None:
    """A request, but for its body."""
    connection.putrequest("POST", path)
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(length))
    connection.endheaders()


def answer(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    found = connection.getresponse()
    found.read()
    return found


def test_a_request_that_is_refused_before_its_body_came_is_followed_by_the_next(
    server: Server, connection: http.client.HTTPConnection
) -> None:
    begin(connection, "/nowhere", 2)
    for _ in range(3):
        assert server.client.get("/v1").status_code == 200
    connection.send(b"{}")
    assert answer(connection).status == 404
    connection.request("GET", "/v1")
    assert answer(connection).status == 200


def test_a_body_that_is_too_long_is_followed_by_the_next_request(server: Server, connection: http.client.HTTPConnection) -> None:
    begin(connection, "/v1/machines", 600_000)
    connection.send(bytes(600_000))
    assert answer(connection).status == 413
    connection.request("GET", "/v1")
    assert answer(connection).status == 200


def test_a_client_whose_body_does_not_come_is_told_that_the_connection_ends(
    server: Server, connection: http.client.HTTPConnection
) -> None:
    begin(connection, "/nowhere", 2)
    found = answer(connection)
    assert (found.status, found.getheader("connection")) == (404, "close")
