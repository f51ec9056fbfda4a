"""Machines over HTTP: made, run, looked into, ended, forgotten."""

import gzip
import json

import httpx
import pytest

from tests.service.api.serving import Server


def test_a_machine_runs_to_its_end_and_its_report_is_kept(server: Server) -> None:
    machine = server.create("hypercalls", labels={"of": "one"})
    path = f"/v1/machines/{machine['id']}"
    assert server.output(machine["id"]) == b"printed by a hypercall\n"
    ended = server.client.post(f"{path}/stop").json()
    assert ended["state"] == "ended"
    assert ended["ending"] == {"kind": "exited", "exit_code": 42, "message": ""}
    assert ended["console"] == {"start": 0, "end": 23}
    report = server.client.get(f"{path}/report").json()
    assert report["exit_code"] == 42
    assert report["violations"] == ended["violations"] > 0
    assert server.client.get(f"{path}/pages").json()["page_size"] == 4096
    cells = server.client.get(f"{path}/pages/cells", params={"count": 16, "start": "0x100000", "end": "0x200000"}).json()
    assert (cells["start"], cells["cell_pages"], len(cells["present"])) == (0x100000, 16, 16)
    refused = server.client.get(f"{path}/pages/cells", params={"start": "0x200000", "end": "0x100000"})
    assert (refused.status_code, refused.json()["field"]) == (422, "start")
    assert server.client.get(f"{path}/screenshot").content.startswith(b"\x89PNG")
    for gone in ("registers", "memory?gpa=0x100000"):
        assert server.client.get(f"{path}/{gone}").status_code == 410


def test_a_machine_is_made_without_running_and_is_started_later(server: Server) -> None:
    machine = server.create("hypercalls", name="later", start=False)
    assert (machine["state"], machine["name"], machine["started"]) == ("created", "later", None)
    for action in ("pause", "resume"):
        refused = server.client.post(f"/v1/machines/later/{action}")
        assert (refused.status_code, refused.json()["field"], refused.json()["value"]) == (409, "state", "created")
        assert refused.json()["detail"].startswith("later: ")
    assert server.client.post("/v1/machines/later/start").status_code == 200
    assert server.output("later") == b"printed by a hypercall\n"
    assert server.client.post("/v1/machines/later/start").status_code == 409
    assert server.client.delete("/v1/machines/later").status_code == 204
    assert server.client.get("/v1/machines/later").status_code == 404


def test_a_machine_that_runs_is_typed_to_paused_looked_into_and_resumed(server: Server) -> None:
    server.create("echo", name="talks")
    server.until_printed("talks", b"echo> ")
    server.say("talks", b"hello\n")
    server.until_printed("talks", b"you said: hello")
    again = server.client.post("/v1/machines/talks/start").json()
    assert (again["status"], again["field"], again["value"], again["limit"]) == (409, "state", "running", "created")
    nowhere = server.client.get("/v1/machines/talks/memory", params={"gpa": "0xfffff000"}).json()
    assert (nowhere["status"], nowhere["field"]) == (422, "gpa")
    assert server.client.post("/v1/machines/talks/pause").json()["state"] == "paused"
    (vcpu,) = server.client.get("/v1/machines/talks/registers").json()["vcpus"]
    assert vcpu["rip"] >= 0x100000
    memory = server.client.get("/v1/machines/talks/memory", params={"gpa": hex(vcpu["rip"]), "length": 16})
    assert len(memory.content) == 16
    assert any(memory.content)
    assert server.client.post("/v1/machines/talks/resume").json()["state"] == "running"
    server.say("talks", b"exit 7\n")
    server.output("talks")
    assert server.client.post("/v1/machines/talks/stop").json()["ending"]["exit_code"] == 7
    refused = server.client.post("/v1/machines/talks/input", content=b"more")
    assert (refused.status_code, refused.json()["value"]) == (409, "ended")


def test_machines_are_listed_in_order_by_state_and_label_and_page_by_page(server: Server) -> None:
    ids = [server.create(start=False, labels={"list": "yes", "number": str(number)})["id"] for number in range(3)]

    def listed(**params: object) -> list[str]:
        answer = server.client.get("/v1/machines", params={"label": "list", **params})  # type: ignore[dict-item]
        return [machine["id"] for machine in answer.json()["machines"]]

    assert listed() == ids
    assert listed(limit=2) == ids[:2]
    assert listed(after=ids[1]) == ids[2:]
    assert listed(state="running") == []
    assert listed(label="number=1") == [ids[1]]
    for id in ids:
        server.client.delete(f"/v1/machines/{id}")
    assert listed() == []


def test_the_timeline_is_a_document_of_its_own(server: Server) -> None:
    with_one = server.create(spec={"timeline": True})["id"]
    without = server.create()["id"]
    server.output(with_one)
    assert server.client.get(f"/v1/machines/{with_one}/timeline").json()["violations"]
    assert "timeline" not in server.client.get(f"/v1/machines/{with_one}/report").json()
    assert server.client.get(f"/v1/machines/{without}/timeline").status_code == 422


def test_a_snapshot_is_taken_listed_gone_on_from_and_forgotten(server: Server) -> None:
    server.create("echo", name="saved")
    server.until_printed("saved", b"echo> ")
    made = server.client.post("/v1/machines/saved/snapshots", json={"name": "first"})
    assert made.status_code == 201
    assert made.json()["machine_name"] == "saved"
    assert made.json()["size"] > 4096
    assert server.client.post("/v1/machines/saved/snapshots", json={"name": "first"}).status_code == 409
    assert [snapshot["name"] for snapshot in server.client.get("/v1/snapshots").json()["snapshots"]] == ["first"]
    paused = server.client.post("/v1/machines", json={"snapshot": "first", "name": "waits", "start": False}).json()
    assert (paused["state"], paused["spec"]) == ("paused", {"image": "echo"})
    assert server.client.post("/v1/machines/waits/start").json()["value"] == "paused"
    other = server.client.post("/v1/machines", json={"snapshot": "first", "spec": {"memory": "1M"}}).json()
    assert (other["status"], other["field"], other["value"]) == (422, "snapshot", "first")
    assert str(server.folder) not in other["detail"]
    assert server.client.delete("/v1/snapshots/first").status_code == 204
    assert server.client.get("/v1/snapshots/first").status_code == 404
    assert server.client.post("/v1/machines/waits/resume").json()["state"] == "running"
    server.say("waits", b"back\n")
    server.until_printed("waits", b"you said: back")
    for name in ("saved", "waits"):
        server.client.delete(f"/v1/machines/{name}")


def test_forks_go_on_from_what_the_machine_is_and_do_not_see_each_other(server: Server) -> None:
    server.create("echo", name="parent", labels={"of": "fork"})
    server.until_printed("parent", b"echo> ")
    answer = server.client.post("/v1/machines/parent/fork", json={"count": 2})
    assert answer.status_code == 201
    first, second = (fork["id"] for fork in answer.json()["machines"])
    assert {fork["state"] for fork in answer.json()["machines"]} == {"paused"}
    for fork, word in ((first, b"one"), (second, b"two")):
        server.client.post(f"/v1/machines/{fork}/resume")
        server.say(fork, word + b"\n")
    assert b"two" not in server.until_printed(first, b"you said: one")
    assert b"one" not in server.until_printed(second, b"you said: two")
    assert server.show("parent")["state"] == "running"
    for name in ("parent", first, second):
        server.client.delete(f"/v1/machines/{name}")
    assert list((server.folder / "state" / "files").iterdir()) == []


def test_a_machine_with_a_disk_that_is_written_in_place_is_not_forked(server: Server) -> None:
    disk = server.folder / "disk.img"
    disk.write_bytes(bytes(4096))
    server.create("echo", name="with-disk", spec={"disks": [f"{disk},virtio"]})
    answer = server.client.post("/v1/machines/with-disk/fork", json={})
    assert answer.status_code == 409
    assert answer.json()["field"] == "spec.disks[0]"
    assert answer.json()["limit"] == ["ro", "overlay"]
    server.client.delete("/v1/machines/with-disk")


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 422, "spec"),
        ({"spec": {}}, 422, None),
        ({"spec": {"image": "gKeO"}}, 422, "spec.image"),
        ({"spec": {"image": "relative/kernel"}}, 422, "spec.image"),
        ({"spec": {"image": "/no/such/kernel"}}, 422, None),
        ({"spec": {"image": "hypercalls", "memory": "1T"}}, 422, "spec.memory"),
        ({"spec": {"image": "hypercalls", "memory": 4097}}, 422, "spec.memory"),
        ({"spec": {"image": "hypercalls", "vcpus": 65}}, 422, "spec.vcpus"),
        ({"spec": {"image": "hypercalls", "memroy": "64M"}}, 422, "spec.memroy"),
        ({"spec": {"image": "hypercalls", "vcpus": 1, "smp": 1}}, 422, "spec"),
        ({"spec": {"image": "hypercalls"}, "nmae": "x"}, 422, "nmae"),
        ({"spec": {"image": "hypercalls"}, "name": "with space"}, 422, "name"),
        ({"spec": {"image": "hypercalls"}, "name": "line\n"}, 422, "name"),
        ({"spec": {"image": "hypercalls"}, "labels": {"a": 1}}, 422, "labels.a"),
        ({"spec": {"image": "hypercalls"}, "start": 1}, 422, "start"),
        ({"spec": {}}, 422, "spec.image"),
        ({"snapshot": "none"}, 404, "snapshot"),
        ([], 422, "body"),
    ],
)
def test_what_cannot_be_is_refused_by_name_and_leaves_nothing(server: Server, body: object, status: int, field: str | None) -> None:
    before = server.client.get("/v1/machines").json()
    answer = server.client.post("/v1/machines", json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["detail"]
    assert "\n" not in problem["detail"]
    if field is not None:
        assert problem["field"] == field
    assert server.client.get("/v1/machines").json() == before


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b'{"spec": NaN}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"spec": {"seed": ' + b"9" * 5000 + b"}}", "application/json", 400),
        (b" " * (256 << 10) + b"{}", "application/json", 413),
        (b"{}", "text/plain", 415),
        (b"", "application/json", 400),
    ],
)
def test_bodies_that_are_no_json_or_too_large_are_refused(server: Server, content: bytes, media_type: str, status: int) -> None:
    answer = server.client.post("/v1/machines", content=content, headers={"content-type": media_type})
    assert answer.status_code == status, answer.text
    assert answer.json()["status"] == status
    assert answer.json()["field"] == ("content-type" if status == 415 else "body")
    assert answer.json()["limit"]


@pytest.mark.parametrize(
    "body",
    ['{"spec": {"image": "echo", "image": "spin"}}', '{"spec": {"image": "echo"}, "name": "a", "name": "b", "start": false}'],
)
def test_a_body_with_a_member_twice_is_refused_because_nobody_knows_which_is_meant(server: Server, body: str) -> None:
    answer = server.client.post("/v1/machines", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["field"]) == (400, "body")
    assert "twice" in answer.json()["detail"]


def test_a_body_that_is_compressed_is_refused_and_not_typed(server: Server) -> None:
    server.create("echo", name="types", start=False)
    for path in ("/v1/machines", "/v1/machines/types/input"):
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        answer = server.client.post(path, content=gzip.compress(b'{"spec": {"image": "echo"}}'), headers=headers)
        assert (answer.status_code, answer.json()["field"]) == (415, "content-encoding")
        assert answer.headers["accept-encoding"] == "identity"
    same = server.client.post("/v1/machines/types/input", content=b"x", headers={"content-encoding": "identity"})
    assert same.status_code == 204
    server.client.delete("/v1/machines/types")


def test_a_body_without_a_length_is_bounded_as_well(server: Server) -> None:
    def chunks() -> "list[bytes]":
        return [b" " * 65536] * 8

    answer = server.client.post("/v1/machines", content=iter(chunks()), headers={"content-type": "application/json"})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/machines/none", 404),
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/machines/", 404),
        ("PUT", "/v1/machines", 405),
        ("GET", "/v1/machines?state=asleep", 400),
        ("GET", "/v1/machines?limit=0", 400),
        ("GET", "/v1/machines?limit=1&limit=2", 400),
        ("GET", "/v1/machines?stat=running", 400),
        ("GET", "/v1/machines?after=none", 404),
        ("GET", "/v1/snapshots/none", 404),
        ("DELETE", "/v1/jobs/none", 404),
    ],
)
def test_requests_that_lead_nowhere_get_problems(server: Server, method: str, path: str, status: int) -> None:
    answer = server.client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["status"] == status


@pytest.mark.parametrize(
    ("query", "limit"), [("state=asleep", "one of created, running, paused, ended, lost"), ("limit=0", "a number from 1 to 1000")]
)
def test_a_parameter_that_cannot_be_names_what_it_may_be(server: Server, query: str, limit: str) -> None:
    problem = server.client.get(f"/v1/machines?{query}").json()
    assert (problem["field"], problem["value"], problem["limit"]) == (*query.split("="), limit)


@pytest.mark.parametrize(
    "query", ["", "?gpa=x", "?gpa=-1", "?gpa=0x1&length=0", "?gpa=0x100000000000000000", "?gpa=0x1&length=99999999"]
)
def test_memory_is_not_read_where_there_can_be_none(server: Server, query: str) -> None:
    assert server.client.get(f"/v1/machines/none/memory{query}").status_code == 400


def test_two_machines_cannot_have_one_name(server: Server) -> None:
    server.create(name="taken", start=False)
    answer = server.client.post("/v1/machines", json={"spec": {"image": "hypercalls"}, "name": "taken"})
    assert (answer.status_code, answer.json()["field"]) == (409, "name")
    server.client.delete("/v1/machines/taken")


def test_errors_name_the_allowed_methods(server: Server) -> None:
    assert server.client.put("/v1/machines").headers["allow"] == "GET, POST"


def test_the_service_says_what_it_is(server: Server) -> None:
    about = server.client.get("/v1").json()
    assert about["limits"]["memory"] == 512 << 20
    assert server.client.get("/healthz").json() == {"status": "ok"}
    assert server.client.get("/readyz").json() == {"status": "ready"}
    assert "kev" in server.client.get("/").text


def test_every_request_and_change_is_an_event_without_secrets(server: Server) -> None:
    machine = server.create(start=False)["id"]
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as client:
        client.get("/", params={"token": server.token})
    server.client.delete(f"/v1/machines/{machine}")
    requests = [event for event in server.events() if event["event"] == "request"]
    assert {"method", "path", "operation", "status", "ms", "client"} <= requests[-1].keys()
    assert any(event["event"] == "machine" and event["id"] == machine for event in server.events())
    assert server.token not in json.dumps(server.events())
