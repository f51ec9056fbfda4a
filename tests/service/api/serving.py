"""A service of its own process, and what clients do to it."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

PATIENCE = 60.0
"""Seconds that something may take on a busy machine before a test fails."""


class Server:
    """`kev serve` at a unix socket, and at an address of this host."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        self.socket = folder / "kev.sock"
        self.token_file = folder / "token"
        self.errors = folder / f"errors-{len(list(folder.glob('errors-*')))}"
        with open(self.errors, "xb") as errors:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "kev", "serve", "--state-dir", str(folder / "state"), "--log-json"),
                    *("--listen", f"unix:{self.socket}", "--listen", "127.0.0.1:0", "--token-file", str(self.token_file)),
                    *words,
                ],
                stdin=subprocess.DEVNULL,
                stderr=errors,
            )
        found = self._until(r"listening on 127\.0\.0\.1:(\d+)\n(?s:.*)\"ready\"")
        self.port = int(found[1])
        self.client = httpx.Client(transport=httpx.HTTPTransport(uds=str(self.socket)), base_url="http://kev", timeout=PATIENCE)

    def _until(self, pattern: str) -> re.Match[str]:
        """What `pattern` finds in what the service says of itself."""
        end = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self.errors.read_text())) is None:
            assert self.process.poll() is None, self.errors.read_text()
            assert time.monotonic() < end, self.errors.read_text()
            time.sleep(0.02)
        return found

    @property
    def token(self) -> str:
        return self.token_file.read_text().strip()

    def over_tcp(self, token: str | None = None) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.token if token is None else token}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=PATIENCE)

    def connection(self) -> socket.socket:
        """A connection to the unix socket, for what no client does."""
        found = socket.socket(socket.AF_UNIX)
        found.settimeout(PATIENCE)
        found.connect(str(self.socket))
        return found

    def stop(self) -> int:
        """The exit code, when all is put away."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    # What clients do.

    def create(self, image: str = "hypercalls", **more: Any) -> dict[str, Any]:
        """A machine, which is there."""
        spec = more.pop("spec", {})
        answer = self.client.post("/v1/machines", json={"spec": {"image": image, **spec}, **more})
        assert answer.status_code == 201, answer.text
        machine: dict[str, Any] = answer.json()
        return machine

    def show(self, machine: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/v1/machines/{machine}").json()
        return found

    def output(self, machine: str) -> bytes:
        """All that it prints, when it has ended."""
        data, offset, end = b"", 0, False
        while not end:
            answer = self.client.get(f"/v1/machines/{machine}/console", params={"offset": offset, "follow": 1})
            data += answer.content
            offset, end = int(answer.headers["kev-next"]), answer.headers["kev-end"] == "true"
        return data

    def until_printed(self, machine: str, text: bytes) -> bytes:
        """What it has printed when `text` is in it."""
        data = b""
        while text not in data:
            answer = self.client.get(f"/v1/machines/{machine}/console", params={"offset": len(data), "follow": 1})
            assert answer.content, data
            data += answer.content
        return data

    def say(self, machine: str, text: bytes) -> None:
        assert self.client.post(f"/v1/machines/{machine}/input", content=text).status_code == 204

    def clear(self) -> None:
        """Removes everything that clients have made."""
        for kind, key in (("machines", "id"), ("snapshots", "name"), ("jobs", "id")):
            for found in self.client.get(f"/v1/{kind}").json()[kind]:
                self.client.delete(f"/v1/{kind}/{found[key]}")

    def events(self) -> list[dict[str, Any]]:
        """What the service has logged."""
        import json

        return [json.loads(line) for line in self.errors.read_text().splitlines() if line.startswith("{")]


@contextmanager
def websocket(connection: socket.socket, path: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Iterator["WebSocketClient"]:
    """The client's end of a WebSocket."""
    with connection:
        client = WebSocketClient(connection)
        connection.sendall(client.protocol.send(Request(host="localhost", target=path, extra_headers=list(headers))))
        yield client


class WebSocketClient:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.protocol = WSConnection(ConnectionType.CLIENT)
        self._events: list[Event] = []

    def next(self) -> Event:
        """The next thing that comes; whole messages."""
        while True:
            while self._events:
                event = self._events.pop(0)
                if not isinstance(event, Ping):
                    return event
            data = self.connection.recv(65536)
            self.protocol.receive_data(data or None)
            self._events.extend(self.protocol.events())

    def expect_accepted(self) -> None:
        assert isinstance(event := self.next(), AcceptConnection), event

    def refused(self) -> tuple[int, bytes]:
        """The status, and the body."""
        event = self.next()
        assert isinstance(event, RejectConnection)
        body = b""
        while event.has_body:
            part = self.next()
            assert isinstance(part, RejectData)
            body += bytes(part.data)
            if part.body_finished:
                break
        return event.status_code, body

    def send(self, data: bytes) -> None:
        self.connection.sendall(self.protocol.send(BytesMessage(data=data)))

    def send_text(self, text: str) -> None:
        self.connection.sendall(self.protocol.send(TextMessage(data=text)))

    def read_to(self, text: bytes) -> bytes:
        """The output, until `text` is in it."""
        data = b""
        while text not in data:
            event = self.next()
            assert isinstance(event, BytesMessage), event
            data += bytes(event.data)
        return data

    def rest(self) -> tuple[bytes, int]:
        """The output until the service closes the stream, and the code with which it does."""
        data = b""
        while not isinstance(event := self.next(), CloseConnection):
            assert isinstance(event, BytesMessage), event
            data += bytes(event.data)
        return data, event.code
