"""Whole runs by one request, and the processes that they live in."""

import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.programs import FLOOD
from tests.service.api.serving import PATIENCE, Server


def _run(server: Server, image: str, **more: Any) -> httpx.Response:
    return server.client.post("/v1/runs", json={"spec": {"image": image}, **more})


def test_a_run_is_answered_by_its_report_and_its_output_and_leaves_nothing(server: Server) -> None:
    run = _run(server, "hypercalls", name="once", labels={"of": "one"}).json()
    assert run["machine"]["ending"] == {"kind": "exited", "exit_code": 42, "message": ""}
    assert (run["machine"]["name"], run["machine"]["labels"]) == ("once", {"of": "one"})
    assert run["report"]["exit_code"] == 42
    assert (run["output"], run["output_start"]) == ("printed by a hypercall\n", 0)
    assert server.client.get("/v1/machines/once").status_code == 404
    assert not [file for file in (server.folder / "state" / "machines").iterdir() if run["machine"]["id"] in file.name]


def test_a_run_that_prints_more_than_is_kept_says_how_much_is_not(server: Server, folder: Path) -> None:
    kernel = folder / "kernel"
    kernel.write_bytes(FLOOD)
    answer = server.client.post("/v1/runs", json={"spec": {"image": str(kernel), "max_output": 20_000}})
    run = answer.json()
    assert run["machine"]["ending"]["kind"] == "limited"
    assert len(run["output"]) == 4096
    assert run["output_start"] + 4096 == run["machine"]["console"]["end"]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 422, "spec"),
        ({"spec": {"image": "ghost"}}, 422, None),
        ({"spec": {"image": "echo", "memory": "2T"}}, 422, "spec.memory"),
        ({"spec": {"image": "echo"}, "start": False}, 422, "start"),
    ],
)
def test_a_run_that_cannot_be_is_refused_by_name(server: Server, body: object, status: int, field: str | None) -> None:
    answer = server.client.post("/v1/runs", json=body)
    assert answer.status_code == status, answer.text
    assert field is None or answer.json()["field"] == field
    assert server.client.get("/v1/machines").json()["machines"] == []


def test_a_run_ends_when_its_client_leaves(server: Server) -> None:
    connection = server.connection()
    body = json.dumps({"spec": {"image": "spin"}, "name": "left-alone"}).encode()
    head = f"POST /v1/runs HTTP/1.1\r\nhost: kev\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    _until(server, "left-alone", 200)
    connection.shutdown(socket.SHUT_RDWR)
    connection.close()
    _until(server, "left-alone", 404)


def test_a_run_that_is_removed_is_answered_by_what_it_came_to(server: Server) -> None:
    answers: list[httpx.Response] = []
    runner = threading.Thread(target=lambda: answers.append(_run(server, "spin", name="removed")))
    runner.start()
    _until(server, "removed", 200)
    server.client.post("/v1/machines/removed/stop")
    runner.join(PATIENCE)
    assert answers[0].json()["machine"]["ending"]["kind"] == "stopped"


def test_machines_of_the_unix_socket_come_to_live_where_others_have_and_those_over_tcp_do_not(folder: Path) -> None:
    with Server(folder) as server:
        local = [_run(server, "hypercalls").json()["machine"]["process"] for _ in range(2)]
        with server.over_tcp() as client:
            remote = [
                client.post("/v1/runs", json={"spec": {"image": "hypercalls"}}).json()["machine"]["process"] for _ in range(2)
            ]
    assert local[0] == local[1]
    assert len({*local, *remote}) == 3


def _until(server: Server, machine: str, status: int) -> None:
    end = time.monotonic() + PATIENCE
    while server.client.get(f"/v1/machines/{machine}").status_code != status:
        assert time.monotonic() < end
