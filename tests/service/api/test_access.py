"""Who may do what, over TCP."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from kev.service.serving.token import Token
from tests.service.api.serving import PATIENCE, Server, websocket


@pytest.fixture
def anyone(server: Server) -> Iterator[httpx.Client]:
    """A client that knows nothing."""
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=PATIENCE) as client:
        yield client


def test_without_the_token_nothing_is_told_but_that_the_service_is_there(server: Server, anyone: httpx.Client) -> None:
    for path in ("/v1", "/v1/machines", "/metrics", "/openapi.json", "/v1/events", "/v1/nothing"):
        answer = anyone.get(path)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert anyone.post("/v1/machines", json={"spec": {"image": "hypercalls"}}).status_code == 401
    for path in ("/", "/healthz", "/readyz"):
        assert anyone.get(path).status_code == 200


@pytest.mark.parametrize("said", ["wrong", "é", "x" * 5000])
def test_a_wrong_token_is_none(server: Server, anyone: httpx.Client, said: str) -> None:
    answer = anyone.get("/v1", headers=[(b"authorization", b"Bearer " + said.encode())])
    assert answer.status_code == 401
    assert anyone.get("/", params={"token": said}).status_code == 401


def test_the_token_is_all_that_a_client_needs(server: Server) -> None:
    with server.over_tcp() as client:
        assert client.get("/v1").status_code == 200
        machine = client.post("/v1/machines", json={"spec": {"image": "hypercalls"}}).json()["id"]
        assert client.delete(f"/v1/machines/{machine}").status_code == 204


def test_the_token_file_is_made_for_its_owner_alone(server: Server) -> None:
    assert os.stat(server.token_file).st_mode & 0o777 == 0o600
    assert len(server.token) > 30


def test_a_page_logs_in_once_and_the_token_is_in_no_address_afterwards(server: Server, anyone: httpx.Client) -> None:
    answer = anyone.get("/", params={"token": server.token})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "samesite=strict", "path=/"))
    assert server.token.lower() not in cookie
    assert anyone.get("/v1/machines").status_code == 200
    with httpx.Client(base_url=anyone.base_url) as other:
        assert other.post("/v1/session", headers={"authorization": f"Bearer {server.token}"}).status_code == 204
        assert other.get("/v1").status_code == 200


def test_a_page_that_has_logged_in_is_known_to_the_next_service_with_that_token(state: Path) -> None:
    with Server(state, "--in-process") as first:
        cookie = httpx.get(f"http://127.0.0.1:{first.port}/", params={"token": first.token}).headers["set-cookie"].partition(";")[0]
        assert first.stop() == 0
    with Server(state, "--in-process") as second:
        path = f"http://127.0.0.1:{second.port}/v1"
        assert httpx.get(path, headers={"cookie": cookie}).status_code == 200
        second.stop()
    (state / "token").unlink()
    with Server(state, "--in-process") as third:
        path = f"http://127.0.0.1:{third.port}/v1"
        assert httpx.get(path, headers={"cookie": cookie}).status_code == 401


def test_a_session_has_an_end_and_cannot_be_made_up() -> None:
    token, other = Token("of this service"), Token("of another one")
    session = token.session(1000)
    assert token.session_end(session) == 1000
    assert session != token.session(1000)
    assert other.session_end(session) == 0
    for made_up in ("", ".", "1000", session[:-1], session.replace("1000", "2000"), "é" + session, "9" * 5000 + session):
        assert token.session_end(made_up) == 0


def test_pages_of_other_origins_cannot_use_the_cookie(server: Server, anyone: httpx.Client) -> None:
    anyone.get("/", params={"token": server.token})
    body = {"spec": {"image": "hypercalls"}, "start": False}
    for origin in (None, "null", "http://evil.example", f"http://127.0.0.1:{server.port + 1}"):
        headers = {} if origin is None else {"origin": origin}
        answer = anyone.post("/v1/machines", json=body, headers=headers)
        assert (answer.status_code, answer.json()["field"]) == (403, "origin")
    ours = {"origin": f"http://127.0.0.1:{server.port}"}
    machine = anyone.post("/v1/machines", json=body, headers=ours).json()["id"]
    assert anyone.delete(f"/v1/machines/{machine}").status_code == 403
    assert anyone.delete(f"/v1/machines/{machine}", headers=ours).status_code == 204


def test_no_page_reads_answers_of_the_service_from_elsewhere(server: Server) -> None:
    with server.over_tcp() as client:
        answer = client.options("/v1/machines", headers={"origin": "http://evil.example", "access-control-request-method": "POST"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil.example:80", "[::1].evil"])
def test_names_that_lead_here_by_chance_are_refused(server: Server, host: str) -> None:
    with server.over_tcp() as client:
        answer = client.get("/v1", headers={"host": host})
    assert answer.status_code in (400, 403)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1", "[::1]:80", "10.1.2.3"])
def test_addresses_lead_here(server: Server, host: str) -> None:
    with server.over_tcp() as client:
        assert client.get("/v1", headers={"host": host}).status_code == 200


def test_streams_need_the_token_or_the_cookie_and_the_origin(server: Server, anyone: httpx.Client) -> None:
    machine = server.create("hypercalls")["id"]
    path = f"/v1/machines/{machine}/console/stream"

    def opened(*headers: tuple[bytes, bytes]) -> int:
        connection = socket.create_connection(("127.0.0.1", server.port))
        with websocket(connection, path, headers) as stream:
            event = stream.next()
            return getattr(event, "status_code", 101)

    cookie = anyone.get("/", params={"token": server.token}).headers["set-cookie"].partition(";")[0].encode()
    assert opened() == 401
    assert opened((b"cookie", cookie)) == 403
    assert opened((b"cookie", cookie), (b"origin", b"http://evil.example")) == 403
    assert opened((b"cookie", cookie), (b"origin", b"http://localhost")) == 101
    assert opened((b"authorization", b"Bearer " + server.token.encode())) == 101


def test_over_tcp_files_are_those_in_folders_of_images(state: Path) -> None:
    images, outside = state / "images", state / "outside"
    images.mkdir()
    outside.write_bytes(b"secret" * 1000)
    (images / "kernel").write_bytes(b"not one, but there")
    (images / "disk").write_bytes(bytes(4096))
    (images / "link").symlink_to(outside)
    (images / "inner").symlink_to(images / "kernel")
    with Server(state, "--in-process", "--images", str(images)) as server, server.over_tcp() as client:

        def asked(who: httpx.Client, **spec: object) -> tuple[int, str]:
            answer = who.post("/v1/machines", json={"spec": spec, "start": False})
            return answer.status_code, answer.json().get("field", "")

        assert asked(client, image="hypercalls")[0] == 201
        for name in ("kernel", "inner", str(images / "kernel")):
            assert asked(client, image=name)[0] == 422, "it is looked into, and is no kernel"
        for name in (str(outside), "link", "../outside", f"{images}/../outside", "/etc/passwd", "http://host/kernel", "none"):
            assert asked(client, image=name) == (403, "spec.image")
            if name not in ("link", "../outside", "none"):
                assert asked(client, image="echo", firmware=name) == (403, "spec.firmware")
                assert asked(client, image="echo", modules=[name]) == (403, "spec.modules[0]")
                assert asked(client, image="echo", paging=f"prefetch={name}") == (403, "spec.paging")
        assert asked(client, image="echo", disks=["kernel,virtio,write"]) == (403, "spec.disks[0]")
        assert asked(client, image="echo", disks=[f"disk,virtio,overlay={images}/new"]) == (403, "spec.disks[0]")
        assert asked(client, image="echo", paging=f"record={images}/new") == (403, "spec.paging")
        assert asked(client, image="echo", disks=["disk,virtio,overlay"])[0] == 201
        job = client.post("/v1/jobs", json={"kind": "race", "spec": {"image": str(outside)}})
        assert (job.status_code, job.json()["field"]) == (403, "spec.image")
        assert asked(server.client, image=str(outside))[0] == 422, "whoever may write to the socket may name any file"
        assert b"secret" not in json.dumps(client.get("/v1/machines").json()).encode()


def test_images_are_told_by_name_and_no_other_files_of_the_host(state: Path) -> None:
    images = state / "images"
    images.mkdir()
    (images / "kernel").write_bytes(b"one")
    (images / ".hidden").write_bytes(b"none")
    with Server(state, "--in-process", "--images", str(images)) as server, server.over_tcp() as client:
        found = {image["name"]: image for image in client.get("/v1/images").json()["images"]}
    assert (found["gKeOS"]["memory"], found["smp"]["vcpus"] > 1) == (256 << 20, True)
    assert found["kernel"] == {"name": "kernel", "description": "", "memory": None, "vcpus": None}
    assert ".hidden" not in found
