"""Whole runs by one request, and the processes that they live in."""

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis

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
    "spec", [{"image": "hypercalls"}, {"image": "crash"}, {"image": "spin", "timeout": 0.1}, {"image": "gKeOS", "timeline": True}]
)
def test_answers_are_what_the_description_says_they_are(server: Server, spec: dict[str, Any]) -> None:
    schema = schemathesis.openapi.from_dict(server.client.get("/openapi.json").json())
    for path, more in (("/v1/runs", {}), ("/v1/runs/many", {"count": 2})):
        answer = server.client.post(path, json={"spec": spec, **more})
        assert answer.status_code == 200
        schema[path]["POST"].validate_response(answer)


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


def test_many_runs_are_answered_in_their_order_and_counted(server: Server) -> None:
    before = _made(server)
    wish = {"spec": {"image": "hypercalls"}, "count": 5, "at_once": 2}
    runs = server.client.post("/v1/runs/many", json=wish).json()["runs"]
    assert [(run["ending"]["exit_code"], run["report"]["exit_code"], run["output"]) for run in runs] == [
        (42, 42, "printed by a hypercall\n")
    ] * 5
    assert _made(server) == before + 5
    assert server.client.get("/v1/machines").json()["machines"] == []


@pytest.mark.parametrize(
    ("more", "field"), [({}, "count"), ({"count": 0}, "count"), ({"count": 1001}, "count"), ({"count": 1, "at_once": 0}, "at_once")]
)
def test_many_runs_that_cannot_be_are_refused_by_name(server: Server, more: dict[str, int], field: str) -> None:
    answer = server.client.post("/v1/runs/many", json={"spec": {"image": "hypercalls"}, **more})
    assert (answer.status_code, answer.json()["field"]) == (422, field)


@pytest.mark.parametrize(
    ("spec", "at_once", "status"),
    [({"image": "ghost"}, 1, 422), ({"image": "hypercalls", "memory": "2T"}, 1, 422), ({"image": "hypercalls"}, 64, 429)],
)
def test_many_runs_that_cannot_be_begin_not_at_all(server: Server, spec: dict[str, str], at_once: int, status: int) -> None:
    with _machine(server, "echo"):
        answer = server.client.post("/v1/runs/many", json={"spec": spec, "count": 64, "at_once": at_once})
    assert (answer.status_code, answer.json()["status"]) == (status, status)


def test_of_the_output_of_many_runs_no_more_is_kept_than_of_a_few(server: Server, folder: Path) -> None:
    kernel = folder / "kernel"
    kernel.write_bytes(FLOOD)
    for count, kept in ((2, 4096), (32, 1024)):
        wish = {"spec": {"image": str(kernel), "max_output": 5000}, "count": count}
        runs = server.client.post("/v1/runs/many", json=wish).json()["runs"]
        assert {(len(run["output"]), run["output_start"] + kept >= 5000) for run in runs} == {(kept, True)}


def test_many_runs_are_answered_when_the_service_ends(folder: Path) -> None:
    with Server(folder) as server, ThreadPoolExecutor() as clients:
        wish = {"spec": {"image": "spin"}, "count": 9, "at_once": 2}
        answer = clients.submit(server.client.post, "/v1/runs/many", json=wish)
        with server.over_tcp() as other:
            _wait(lambda: _figure(other, r'kev_machines\{state="running"\}') == 2)
        assert server.stop() == 0
        assert (answer.result().status_code, answer.result().json()["detail"]) == (
            503,
            "the service is about to end: 0 of 9 runs have ended",
        )


def test_many_runs_end_when_their_client_leaves(server: Server) -> None:
    body = json.dumps({"spec": {"image": "spin"}, "count": 3, "at_once": 3}).encode()
    _leave(server, "/v1/runs/many", body, lambda: _running(server) == 3)
    _wait(lambda: _running(server) == 0)


def test_many_runs_in_workers_end_each_in_its_own_way_and_leave_none(folder: Path) -> None:
    kernel = folder / "flood"
    kernel.write_bytes(FLOOD)
    with Server(folder) as server:
        for spec, ending in (
            ({"image": "hypercalls"}, ("exited", 42)),
            ({"image": "crash", "command_line": "fault"}, ("died", 1)),
            ({"image": "spin", "timeout": 0.05}, ("timed out", 1)),
            ({"image": "smp", "vcpus": 2, "seed": 7}, ("exited", 0)),
            ({"image": str(kernel), "max_output": 20_000}, ("limited", 1)),
        ):
            runs = server.client.post("/v1/runs/many", json={"spec": spec, "count": 4, "at_once": 2}).json()["runs"]
            assert [run["ending"]["kind"] for run in runs] == [ending[0]] * 4
            assert len({run["output"] for run in runs}) == 1 or spec["image"] == str(kernel)
        _leave(server, "/v1/runs/many", json.dumps({"spec": {"image": "spin"}, "count": 9}).encode(), lambda: _running(server) > 0)
        _wait(lambda: _running(server) == 0)
        assert _run(server, "hypercalls").json()["report"]["exit_code"] == 42


def test_a_run_ends_when_its_client_leaves(server: Server) -> None:
    body = json.dumps({"spec": {"image": "spin"}, "name": "left-alone"}).encode()
    _leave(server, "/v1/runs", body, lambda: _is_there(server, "left-alone"))
    _wait(lambda: not _is_there(server, "left-alone"))


def test_a_run_that_is_removed_is_answered_by_what_it_came_to(server: Server) -> None:
    answers: list[httpx.Response] = []
    runner = threading.Thread(target=lambda: answers.append(_run(server, "spin", name="removed")))
    runner.start()
    _wait(lambda: _is_there(server, "removed"))
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


@contextmanager
def _machine(server: Server, image: str) -> Iterator[None]:
    made = server.create(image)
    yield
    server.client.delete(f"/v1/machines/{made['id']}")


def _leave(server: Server, path: str, body: bytes, when: Callable[[], bool]) -> None:
    """Asks for something, and goes away without the answer."""
    connection = server.connection()
    head = f"POST {path} HTTP/1.1\r\nhost: kev\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    _wait(when)
    connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def _is_there(server: Server, machine: str) -> bool:
    return server.client.get(f"/v1/machines/{machine}").status_code == 200


def _running(server: Server) -> int:
    """How many machines run, those of many runs among them."""
    return _figure(server.client, r'kev_machines\{state="running"\}')


def _made(server: Server) -> int:
    """How many machines were made."""
    return _figure(server.client, "kev_machines_made_total")


def _figure(client: httpx.Client, name: str) -> int:
    found = re.search(rf"^{name} (\d+)", client.get("/metrics").text, re.MULTILINE)
    assert found is not None
    return int(found[1])


def _wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < end
