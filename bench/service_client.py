"""A client of `kev serve` that does much at once and takes little of the processor: HTTP by h11, over the unix socket."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import h11
import trio

from bench.service_load import RunOne

_READ: Final = 1 << 16


class Answer(NamedTuple):
    status: int
    headers: dict[bytes, bytes]
    """By names in small letters."""
    body: bytes


class Client:
    """One connection, which is kept. Requests are made one behind the other."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream: Final = stream
        self._connection: Final = h11.Connection(h11.CLIENT)

    async def ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        headers = [("host", "kev"), ("content-length", str(len(body)))]
        if body:
            headers.append(("content-type", "application/json"))
        sent = self._connection.send(h11.Request(method=method, target=path, headers=headers)) or b""
        sent += self._connection.send(h11.Data(body)) or b""
        await self._stream.send_all(sent + (self._connection.send(h11.EndOfMessage()) or b""))
        status, found, data = 0, {}, bytearray()
        while not isinstance(event := await self._next(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status, found = event.status_code, dict(event.headers)
            elif isinstance(event, h11.Data):
                data += event.data
        self._connection.start_next_cycle()
        return Answer(status, found, bytes(data))

    async def _next(self) -> Any:
        while (event := self._connection.next_event()) is h11.NEED_DATA:
            self._connection.receive_data(await self._stream.receive_some(_READ))
        return event

    async def done(self, method: str, path: str, body: bytes = b"") -> Answer:
        """The same. RuntimeError if it is refused."""
        answer = await self.ask(method, path, body)
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status}: {answer.body.decode()}")
        return answer


@asynccontextmanager
async def client(socket: str) -> AsyncIterator[Client]:
    async with await trio.open_unix_socket(socket) as stream:
        yield Client(stream)


def as_run(socket: str, image: str) -> RunOne:
    """The same by one request."""

    async def run_one() -> None:
        async with client(socket) as ours:
            answer = await ours.done("POST", "/v1/runs", json.dumps({"spec": {"image": image}}).encode())
        run = json.loads(answer.body)
        if run["report"]["exit_code"] != 0:
            raise RuntimeError(f"{image} has failed: {run['report']}")

    return run_one


async def run_many(socket: str, image: str, count: int, at_once: int) -> None:
    """So many of them by one request."""
    async with client(socket) as ours:
        wish = {"spec": {"image": image}, "count": count, "at_once": at_once}
        answer = await ours.done("POST", "/v1/runs/many", json.dumps(wish).encode())
    runs = json.loads(answer.body)["runs"]
    if [run["report"]["exit_code"] for run in runs] != [0] * count:
        raise RuntimeError(f"{image} has failed: {runs}")


def over_http(socket: str, image: str) -> RunOne:
    """Starts a machine, reads what it prints to its end, takes its report, and removes it."""

    async def run_one() -> None:
        async with client(socket) as ours:
            made = await ours.done("POST", "/v1/machines", json.dumps({"spec": {"image": image}}).encode())
            path = f"/v1/machines/{json.loads(made.body)['id']}"
            offset, is_over = 0, False
            while not is_over:
                printed = await ours.done("GET", f"{path}/console?follow=1&offset={offset}")
                offset, is_over = int(printed.headers[b"kev-next"]), printed.headers[b"kev-end"] == b"true"
            report = json.loads((await ours.done("GET", f"{path}/report")).body)
            await ours.done("DELETE", path)
        if report["exit_code"] != 0:
            raise RuntimeError(f"{image} has failed: {report}")

    return run_one
