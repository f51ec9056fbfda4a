"""Races and benchmarks as jobs."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.service.api.serving import Server


def begun(server: Server, **asked: Any) -> str:
    answer = server.client.post("/v1/jobs", json=asked)
    assert answer.status_code == 202, answer.text
    job: str = answer.json()["id"]
    assert answer.headers["location"] == f"/v1/jobs/{job}"
    return job


def over(server: Server, job: str) -> dict[str, Any]:
    """The job, when it is not under way any more."""
    with server.client.stream("GET", "/v1/events") as events:
        for line in events.iter_lines():
            found: dict[str, Any] = server.client.get(f"/v1/jobs/{job}").json()
            if found["state"] not in ("waiting", "running"):
                return found
            assert line is not None
    raise AssertionError("the events have come to an end")


@pytest.mark.slow
def test_a_race_finds_what_kev_race_finds(server: Server) -> None:
    job = over(server, begun(server, kind="race", spec={"image": "lost-update", "smp": 2, "memory": "16M"}, runs=50, seed=0))
    assert job["state"] == "done", job
    assert job["result"]["failure"]["oracle"] == "wrong exit code"
    assert job["result"]["failure"]["token"].startswith("kev1-")
    assert list((server.folder / "state" / "races").iterdir())
    assert server.client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert server.client.get(f"/v1/jobs/{job['id']}").status_code == 404


@pytest.mark.slow
def test_a_benchmark_gives_all_values(server: Server) -> None:
    job = over(server, begun(server, kind="bench", spec={"image": "hypercalls"}, rounds=1))
    assert job["state"] == "done", job
    assert job["result"]["rounds"] == 1
    assert job["id"] in [found["id"] for found in server.client.get("/v1/jobs").json()["jobs"]]


def test_a_job_that_cannot_be_done_says_why(server: Server) -> None:
    job = over(server, begun(server, kind="race", spec={"image": "spin", "keyboard": True}, runs=1))
    assert job["state"] == "failed"
    assert "keyboard" in job["message"]


def test_a_job_is_cancelled_whether_it_runs_or_waits(server: Server) -> None:
    jobs = [begun(server, kind="race", program="r0w1/r0", seconds=3600) for _ in range(3)]
    assert server.client.get(f"/v1/jobs/{jobs[-1]}").json()["state"] == "waiting"
    for job in reversed(jobs):
        assert server.client.delete(f"/v1/jobs/{job}").status_code == 204
    assert not {job["id"] for job in server.client.get("/v1/jobs").json()["jobs"]} & {*jobs}


@pytest.mark.slow
def test_a_job_says_how_far_it_is_and_leaves_no_process_when_it_is_cancelled(server: Server) -> None:
    job = begun(server, kind="race", spec={"image": "lost-update", "memory": "16M"}, seconds=3600, processes=2, keep_going=True)
    while not re.search(r"[1-9]", progress(server, job)):
        """Within a second or so."""
    while len(processes_in(group := group_of_job(server))) < 3:
        """It has two that work, and one that says what to do."""
    assert server.client.delete(f"/v1/jobs/{job}").status_code == 204
    while processes_in(group):
        """The system ends them."""


@pytest.mark.slow
def test_a_job_ends_with_a_service_that_is_killed(state: Path) -> None:
    with Server(state) as server:
        begun(server, kind="race", spec={"image": "lost-update", "memory": "16M"}, seconds=3600, processes=2, keep_going=True)
        while not (group := group_of_job(server)) or len(processes_in(group)) < 3:
            """It begins."""
        server.process.kill()
    while processes_in(group):
        """The system ends them."""


def progress(server: Server, job: str) -> str:
    found: dict[str, Any] = server.client.get(f"/v1/jobs/{job}").json()
    assert found["state"] in ("waiting", "running"), found
    text: str = found["progress"]
    return text


def group_of_job(server: Server) -> int:
    """The process group of its job, which its process leads; 0 if there is none yet."""
    return next((process for process, parent, group in processes() if parent == server.process.pid and process == group), 0)


def processes_in(group: int) -> list[int]:
    return [process for process, _, its_group in processes() if its_group == group]


def processes() -> Iterator[tuple[int, int, int]]:
    """Number, parent and group of each that has not ended (proc(5))."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent, group = stat.read_text().rpartition(")")[2].split()[:3]
            if state != "Z":
                yield int(stat.parent.name), int(parent), int(group)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"kind": "race"}, "spec"),
        ({"kind": "race", "spec": {"image": "spin"}, "program": "r0"}, "spec"),
        ({"kind": "race", "program": "/etc/passwd"}, "program"),
        ({"kind": "race", "program": "--all"}, "program"),
        ({"kind": "race", "spec": {"image": "--all"}}, "spec.image"),
        ({"kind": "race", "spec": {"image": "spin"}, "rounds": 1}, "rounds"),
        ({"kind": "race", "spec": {"image": "spin", "memory": "1G"}}, "spec.memory"),
        ({"kind": "bench", "runs": 1}, "runs"),
        ({"kind": "fleet"}, "kind"),
        ({}, "kind"),
    ],
)
def test_jobs_that_cannot_be_are_refused_by_name(server: Server, asked: dict[str, Any], field: str) -> None:
    answer = server.client.post("/v1/jobs", json=asked)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
