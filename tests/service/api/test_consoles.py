"""Consoles over HTTP: read from offsets on, followed, streamed and typed to."""

import json

from wsproto.events import BytesMessage, CloseConnection, TextMessage

from tests.cli.programs import FLOOD
from tests.service.api.serving import Server, websocket

KEPT = 4096
"""What the service keeps of a console."""


def test_a_console_is_read_piece_by_piece(server: Server) -> None:
    machine = server.create("hypercalls")["id"]
    whole = server.output(machine)
    path = f"/v1/machines/{machine}/console"
    piece = server.client.get(path, params={"offset": 8, "limit": 4})
    assert piece.content == whole[8:12]
    assert (piece.headers["kev-offset"], piece.headers["kev-next"], piece.headers["kev-end"]) == ("8", "12", "false")
    rest = server.client.get(path, params={"offset": 12})
    assert (rest.content, rest.headers["kev-end"]) == (whole[12:], "true")
    behind = server.client.get(path, params={"offset": 10_000, "follow": 1})
    assert (behind.content, behind.headers["kev-offset"], behind.headers["kev-end"]) == (b"", str(len(whole)), "true")


def test_what_is_not_kept_any_more_is_a_gap_that_the_offset_tells(server: Server) -> None:
    kernel = server.folder / "flood"
    kernel.write_bytes(FLOOD)
    machine = server.create(str(kernel), spec={"max_output": 20_000})["id"]
    server.client.get(f"/v1/machines/{machine}/console", params={"offset": 20_000, "follow": 1})
    server.client.post(f"/v1/machines/{machine}/stop")
    answer = server.client.get(f"/v1/machines/{machine}/console")
    assert len(answer.content) == KEPT
    start, end = int(answer.headers["kev-offset"]), int(answer.headers["kev-next"])
    assert start == end - KEPT > 0
    assert server.show(machine)["console"] == {"start": start, "end": end}
    with websocket(server.connection(), f"/v1/machines/{machine}/console/stream") as stream:
        stream.expect_accepted()
        assert isinstance(gap := stream.next(), TextMessage)
        assert json.loads(gap.data) == {"offset": start, "lost": start}
        assert stream.rest() == (answer.content, 1000)


def test_a_stream_brings_the_output_and_takes_input_until_the_run_has_ended(server: Server) -> None:
    machine = server.create("echo")["id"]
    with websocket(server.connection(), f"/v1/machines/{machine}/console/stream") as stream:
        stream.expect_accepted()
        stream.read_to(b"echo> ")
        stream.send(b"bytes\n")
        stream.read_to(b"you said: bytes")
        stream.send_text("text\n")
        stream.read_to(b"you said: text")
        stream.send(b"exit 3\n")
        assert stream.rest()[1] == 1000
    assert server.show(machine)["ending"]["exit_code"] == 3


def test_a_stream_begins_at_its_offset(server: Server) -> None:
    machine = server.create("hypercalls")["id"]
    whole = server.output(machine)
    with websocket(server.connection(), f"/v1/machines/{machine}/console/stream?offset=5") as stream:
        stream.expect_accepted()
        assert stream.rest() == (whole[5:], 1000)


def test_a_stream_of_nothing_is_refused_with_a_problem(server: Server) -> None:
    with websocket(server.connection(), "/v1/machines/none/console/stream") as stream:
        status, body = stream.refused()
    assert (status, json.loads(body)["field"]) == (404, "machine")
    machine = server.create(start=False)["id"]
    with websocket(server.connection(), f"/v1/machines/{machine}/console/stream?offset=x") as stream:
        assert stream.refused()[0] == 400


def test_a_reader_that_does_not_read_loses_output_and_is_told_how_much(server: Server) -> None:
    """Neither the machine nor other readers wait for it."""
    kernel = server.folder / "flood"
    kernel.write_bytes(FLOOD)
    machine = server.create(str(kernel))["id"]
    with websocket(server.connection(), f"/v1/machines/{machine}/console/stream") as slow:
        slow.expect_accepted()
        server.client.get(f"/v1/machines/{machine}/console", params={"offset": 100_000, "follow": 1})
        offset = 0
        while not isinstance(event := slow.next(), TextMessage):
            assert isinstance(event, BytesMessage)
            offset += len(event.data)
        gap = json.loads(event.data)
        assert gap["lost"] > 0
        assert gap["offset"] == offset + gap["lost"]
    server.client.delete(f"/v1/machines/{machine}")


def test_input_for_a_machine_that_is_paused_arrives_when_it_goes_on(server: Server) -> None:
    machine = server.create("echo")["id"]
    server.until_printed(machine, b"echo> ")
    server.client.post(f"/v1/machines/{machine}/pause")
    with websocket(server.connection(), f"/v1/machines/{machine}/console/stream") as stream:
        stream.expect_accepted()
        stream.send(b"later\n")
        stream.read_to(b"echo> ")
        server.client.post(f"/v1/machines/{machine}/resume")
        stream.read_to(b"you said: later")
    server.client.delete(f"/v1/machines/{machine}")


def test_a_client_that_closes_its_stream_gets_it_closed(server: Server) -> None:
    machine = server.create("echo")["id"]
    with websocket(server.connection(), f"/v1/machines/{machine}/console/stream") as stream:
        stream.expect_accepted()
        stream.connection.sendall(stream.protocol.send(CloseConnection(code=1000)))
        while not isinstance(stream.next(), CloseConnection):
            """Output that was under way."""
    server.client.delete(f"/v1/machines/{machine}")


def test_what_is_typed_and_not_taken_is_bounded(server: Server) -> None:
    machine = server.create("spin")["id"]
    answers = [server.client.post(f"/v1/machines/{machine}/input", content=bytes(60_000)) for _ in range(18)]
    assert [answer.status_code for answer in answers] == [204] * 17 + [429]
    assert answers[-1].json()["field"] == "input"
    server.client.delete(f"/v1/machines/{machine}")
