"""What a service refuses because it would be too much."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.folders import folder_in_memory
from tests.service.api.serving import Server

_LIMITS = (
    *("--max-machines", "3", "--max-running", "1", "--max-memory", "64M", "--max-total-memory", "128M", "--max-vcpus", "2"),
    *("--max-run-time", "10m", "--max-output", "1M", "--max-snapshots", "100K", "--keep-ended", "2"),
)


@pytest.fixture(scope="module")
def small() -> Iterator[Server]:
    """A service that may hold little."""
    with folder_in_memory() as folder, Server(folder, "--in-process", *_LIMITS) as server:
        yield server


def asked(server: Server, **more: object) -> tuple[int, dict[str, object], str]:
    spec = {"image": "spin", "memory": "32M", **more.pop("spec", {})}  # type: ignore[dict-item]
    answer = server.client.post("/v1/machines", json={"spec": spec, **more})
    return answer.status_code, answer.json(), answer.headers.get("retry-after", "")


@pytest.mark.parametrize(
    ("field", "value"), [("memory", "128M"), ("vcpus", 3), ("timeout", 601), ("max_output", "2M"), ("memory", "1T")]
)
def test_a_machine_may_not_want_more_than_one_may_have(small: Server, field: str, value: object) -> None:
    status, problem, _ = asked(small, spec={field: value})
    assert (status, problem["field"]) == (422, f"spec.{field}")
    assert problem["limit"]
    assert small.client.get("/v1/machines").json() == {"machines": []}


def test_a_machine_that_says_no_limits_gets_those_of_the_service(small: Server) -> None:
    _, machine, _ = asked(small, start=False)
    assert machine["spec"] == {"image": "spin", "memory": "32M", "timeout": 600.0, "max_output": "1M"}
    small.client.delete(f"/v1/machines/{machine['id']}")


def test_more_than_there_is_room_for_is_refused_until_there_is_room(small: Server) -> None:
    first = asked(small, name="first")[1]
    assert first["state"] == "running"
    status, problem, retry_after = asked(small)
    assert (status, problem["field"], problem["limit"]) == (429, "running", 1)
    assert int(retry_after) > 0
    asked(small, name="second", start=False)
    status, problem, _ = asked(small, start=False, spec={"memory": "65M"})
    assert status == 422
    assert small.client.post("/v1/machines/second/start").status_code == 429
    status, problem, _ = asked(small, start=False, spec={"memory": "64M"})
    assert status == 201
    status, problem, _ = asked(small, start=False)
    assert (status, problem["field"]) == (429, "machines")
    for machine in small.client.get("/v1/machines").json()["machines"]:
        small.client.delete(f"/v1/machines/{machine['id']}")
    assert asked(small, start=False, spec={"memory": "64M"}, name="a")[0] == 201
    assert asked(small, start=False, spec={"memory": "33M"}, name="b")[0] == 201
    status, problem, _ = asked(small, start=False)
    assert (status, problem["field"]) == (429, "total_memory")
    for name in "ab":
        small.client.delete(f"/v1/machines/{name}")


def test_forks_need_room_as_well(small: Server) -> None:
    asked(small, name="parent", spec={"image": "echo"})
    answer = small.client.post("/v1/machines/parent/fork", json={"count": 3})
    assert (answer.status_code, answer.json()["field"]) == (429, "machines")
    assert len(small.client.get("/v1/machines").json()["machines"]) == 1
    small.client.delete("/v1/machines/parent")


def test_snapshots_may_not_take_more_than_all_may(small: Server) -> None:
    asked(small, name="saved", spec={"image": "echo"})
    small.until_printed("saved", b"echo> ")
    assert small.client.post("/v1/machines/saved/snapshots", json={"name": "one"}).status_code == 201
    answer = small.client.post("/v1/machines/saved/snapshots", json={"name": "two"})
    assert (answer.status_code, answer.json()["field"]) == (429, "snapshots")
    assert len(list((small.folder / "state" / "files").iterdir())) == 1
    small.client.delete("/v1/snapshots/one")
    assert small.client.post("/v1/machines/saved/snapshots", json={"name": "two"}).status_code == 201
    small.client.delete("/v1/snapshots/two")
    small.client.delete("/v1/machines/saved")


def test_of_machines_that_have_ended_the_oldest_are_forgotten(small: Server) -> None:
    ids = []
    for _ in range(3):
        machine = asked(small, spec={"image": "hypercalls"})[1]["id"]
        small.client.post(f"/v1/machines/{machine}/stop")
        small.output(str(machine))
        ids.append(machine)
    assert [machine["id"] for machine in small.client.get("/v1/machines").json()["machines"]] == ids[1:]
    assert not (Path(small.folder) / "state" / "machines" / f"{ids[0]}.json").exists()
    small.client.post("/v1/runs", json={"spec": {"image": "hypercalls", "memory": "32M"}}).raise_for_status()
    assert [machine["id"] for machine in small.client.get("/v1/machines").json()["machines"]] == ids[1:]


def test_only_so_many_requests_are_answered_at_once(state: Path) -> None:
    with (
        Server(state, "--in-process", "--max-requests", "2") as server,
        server.client.stream("GET", "/v1/events"),
        server.client.stream("GET", "/v1/events"),
    ):
        answer = server.client.get("/v1")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
