"""What a service leaves, and what the next one in the same state directory finds."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.service.api.serving import Server

pytestmark = pytest.mark.slow


_DOCUMENTS = ("report", "timeline", "pages", "screenshot")


def states(server: Server) -> dict[str, str]:
    return {machine["name"]: machine["state"] for machine in server.client.get("/v1/machines").json()["machines"]}


def test_machines_go_on_behind_a_restart_as_they_were(state: Path) -> None:
    with Server(state) as first:
        first.create("echo", name="runs", labels={"kept": "yes"})
        first.create("echo", name="pauses")
        first.create("hypercalls", name="waits", start=False)
        first.create("spin", name="stops", on_shutdown="stop")
        first.create("hypercalls", name="over", spec={"timeline": True})
        first.output("over")
        documents = {name: first.client.get(f"/v1/machines/over/{name}").content for name in _DOCUMENTS}
        said = first.until_printed("runs", b"echo> ")
        first.until_printed("pauses", b"echo> ")
        first.client.post("/v1/machines/pauses/pause")
        before = first.show("runs")
        first.client.post("/v1/machines/runs/snapshots", json={"name": "named"})
        assert first.stop() == 0
        assert not first.socket.exists()
    with Server(state) as second:
        assert states(second) == {
            "runs": "running",
            "pauses": "paused",
            "waits": "created",
            "stops": "ended",
            "over": "ended",
        }
        over = second.show("over")["id"]
        now = second.show("runs")
        for kept in ("id", "labels", "spec", "created", "started"):
            assert now[kept] == before[kept]
        second.say("runs", b"hello\n")
        output = second.until_printed("runs", b"you said: hello")
        assert output.startswith(said), "what was printed before has its offsets still"
        second.client.post("/v1/machines/pauses/resume")
        second.say("pauses", b"too\n")
        second.until_printed("pauses", b"you said: too")
        second.client.post("/v1/machines/waits/start")
        assert second.output("waits") == b"printed by a hypercall\n"
        assert second.show("stops")["ending"]["kind"] == "stopped"
        assert second.client.get("/v1/machines/stops/report").json()["ending"]["kind"] == "stopped"
        assert {name: second.client.get(f"/v1/machines/over/{name}").content for name in _DOCUMENTS} == documents
        assert second.output("over") == b"printed by a hypercall\n"
        second.client.delete("/v1/machines/over")
        assert not list((state / "state" / "machines").glob(f"{over}.*"))
        assert second.client.get("/v1/snapshots/named").status_code == 200
        assert second.client.post("/v1/machines", json={"snapshot": "named", "start": False}).status_code == 201


def test_machines_of_a_service_that_was_killed_are_listed_as_lost_and_why(state: Path) -> None:
    with Server(state, "--in-process") as first:
        first.create("echo", name="ran")
        first.create("hypercalls", name="waits", start=False)
        first.process.kill()
        first.process.wait()
    assert first.socket.exists()
    for _ in range(2):
        with Server(state, "--in-process") as next_one:
            assert states(next_one) == {"ran": "lost", "waits": "created"}
            lost = next_one.show("ran")
            assert "without saving it" in lost["message"]
            assert next_one.client.get("/v1/machines/ran/report").status_code == 410
            assert next_one.client.post("/v1/machines/ran/start").status_code == 409
            assert next_one.stop() == 0


@pytest.mark.parametrize("damage", [b"", b"{", b'{"report": {}, "pages": {}, "screenshot": "*"}', b'{"report": 1}'])
def test_documents_that_are_damaged_are_as_if_they_were_gone(state: Path, damage: bytes) -> None:
    with Server(state, "--in-process") as first:
        machine = first.create("hypercalls", name="over")["id"]
        first.output("over")
        assert first.client.get("/v1/machines/over/report").status_code == 200
        assert first.stop() == 0
    (state / "state" / "machines" / f"{machine}.documents").write_bytes(damage)
    with Server(state, "--in-process") as second:
        answer = second.client.get("/v1/machines/over/report")
        assert (answer.status_code, answer.json()["field"]) == (410, "state")
        assert states(second) == {"over": "ended"}


def test_what_cannot_be_saved_is_lost_by_name(state: Path) -> None:
    firmware = state / "rom"
    firmware.write_bytes(bytes(65536 - 16) + b"\xeb\xfe" + bytes(14))
    with Server(state, "--in-process") as first:
        answer = first.client.post("/v1/machines", json={"spec": {"firmware": str(firmware)}, "name": "rom"})
        assert answer.status_code == 201, answer.text
        assert first.stop() == 0
    with Server(state, "--in-process") as second:
        assert states(second) == {"rom": "lost"}
        assert "could not save it" in second.show("rom")["message"]


def test_a_second_signal_ends_the_service_at_once(state: Path) -> None:
    with Server(state, "--in-process") as server:
        server.create("spin", name="ran")
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == 0
    with Server(state, "--in-process") as second:
        assert states(second)["ran"] in ("lost", "running")


def test_records_that_are_damaged_are_put_aside_and_hurt_no_other(state: Path) -> None:
    with Server(state, "--in-process") as first:
        first.create("hypercalls", name="fine", start=False)
        damaged = first.create("hypercalls", name="damaged", start=False)["id"]
        assert first.stop() == 0
    record = state / "state" / "machines" / f"{damaged}.json"
    data = json.loads(record.read_text())
    record.write_text(json.dumps(data | {"state": "asleep"}))
    (record.parent / ".half.json.1234").write_text("{")
    with Server(state, "--in-process") as second:
        assert states(second) == {"fine": "created"}
        assert record.with_suffix(".damaged").exists()
        assert [event["file"] for event in second.events() if event["event"] == "a record is left out"] == [str(record)]


def test_a_client_that_does_not_read_does_not_keep_the_service_from_ending(state: Path) -> None:
    from tests.cli.programs import FLOOD

    (state / "flood").write_bytes(FLOOD)
    with Server(state, "--in-process", "--console-size", "1M", "--on-shutdown", "stop") as server:
        server.create(str(state / "flood"), name="flood")
        with server.connection() as connection:
            connection.sendall(b"GET /v1/machines/flood/console/stream HTTP/1.1\r\nHost: kev\r\nConnection: Upgrade\r\n")
            connection.sendall(
                b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            server.client.get("/v1/machines/flood/console", params={"offset": 100_000, "follow": 1})
            assert server.stop() == 0


def test_a_disk_that_is_full_refuses_what_is_asked_and_loses_nothing(state: Path) -> None:
    """A file system that is as small as a page stands for the disk."""
    folder = state / "state"
    folder.mkdir()
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs -o size=64k tmpfs {folder} 2>/dev/null") != 0:
        pytest.skip("no file system can be mounted here")
    try:
        with Server(state, "--in-process") as server:
            server.create("echo", name="runs")
            server.until_printed("runs", b"echo> ")
            for name in ("new", "stands"):
                server.create("echo", name=name, start=name == "stands")
            server.client.post("/v1/machines/stands/pause").raise_for_status()
            (folder / "filler").write_bytes(bytes(32 << 10))
            answer = server.client.post("/v1/machines/runs/snapshots", json={"name": "none"})
            assert answer.status_code == 507, answer.text
            assert server.client.get("/v1/snapshots").json() == {"snapshots": []}
            assert list((folder / "files").iterdir()) == []
            server.say("runs", b"still here\n")
            server.until_printed("runs", b"you said: still here")
            with open(folder / "filler", "ab", buffering=0) as filler:
                filler.write(bytes(4096 * (os.statvfs(folder).f_bavail)))
            made = server.client.post("/v1/machines", json={"spec": {"image": "echo"}})
            assert made.status_code == 507, made.text
            answers = [server.client.post(f"/v1/machines/{name}").status_code for name in ("new/start", "stands/resume")]
            assert answers == [507, 200]
            assert states(server) == {"runs": "running", "new": "created", "stands": "running"}
            for name in states(server):
                server.client.delete(f"/v1/machines/{name}")
    finally:
        os.system(f"umount {folder}")


def test_of_machines_that_are_removed_while_they_run_nothing_is_left(state: Path) -> None:
    with Server(state, "--in-process") as server:
        for _ in range(4):
            server.client.delete(f"/v1/machines/{server.create('spin')['id']}").raise_for_status()
        assert server.stop() == 0
    assert list((state / "state" / "machines").iterdir()) == []
