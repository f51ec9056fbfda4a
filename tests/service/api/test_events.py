"""The stream of what happens."""

import json
from collections.abc import Iterator
from typing import Any

from tests.service.api.serving import Server


def events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    kind = ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)


def test_whoever_listens_is_told_of_what_there_is_of_changes_of_rates_and_of_removal(server: Server) -> None:
    there = server.create(start=False)["id"]
    with server.client.stream("GET", "/v1/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = events(answer.iter_lines())
        kind, machine = next(told)
        assert (kind, machine["id"], machine["state"]) == ("machine", there, "created")
        new = server.create("spin")["id"]
        seen = []
        for kind, data in told:
            if data["id"] == new:
                seen.append((kind, data.get("state")))
                if kind == "rates":
                    assert data.keys() == {"id", "violations_per_second", "exits_per_second", "pages", "violations"}
                    break
        assert ("machine", "running") in seen
        server.client.delete(f"/v1/machines/{new}")
        assert any((kind, data["id"]) == ("removed", new) for kind, data in told)
    server.client.delete(f"/v1/machines/{there}")


def test_listeners_that_leave_are_forgotten(server: Server) -> None:
    for _ in range(5):
        with server.client.stream("GET", "/v1/events"):
            """Leaves at once."""
    while "kev_listeners 0.0" not in server.client.get("/metrics").text:
        """It is noticed soon."""
