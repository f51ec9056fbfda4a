"""A client of `kev serve` that does much at once and takes little of the processor: just enough of HTTP/1.1 (RFC 9112) for answers
with a length, over the unix socket."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, NamedTuple

import trio

from bench.service_load import RunOne, User

_READ: Final = 1 << 16
_END_OF_HEAD: Final = b"\r\n\r\n"


class Answer(NamedTuple):
    status: int
    headers: dict[bytes, bytes]
    """By names in small letters."""
    body: bytes


class Client:
    """One connection, which is kept. Requests are made one behind the other."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream: Final = stream
        self._received: Final = bytearray()

    async def ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        kind = "content-type: application/json\r\n" if body else ""
        head = f"{method} {path} HTTP/1.1\r\nhost: kev\r\n{kind}content-length: {len(body)}\r\n\r\n"
        await self._stream.send_all(head.encode() + body)
        while (end := self._received.find(_END_OF_HEAD)) < 0:
            await self._receive()
        first, *lines = bytes(self._received[:end]).split(b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        begin = end + len(_END_OF_HEAD)
        # An answer that streams has no length: nothing here asks for one.
        length = 0 if first.split()[1] == b"204" else int(headers[b"content-length"])
        while len(self._received) < begin + length:
            await self._receive()
        data = bytes(self._received[begin : begin + length])
        del self._received[: begin + length]
        return Answer(int(first.split()[1]), headers, data)

    async def _receive(self) -> None:
        data = await self._stream.receive_some(_READ)
        if not data:
            raise RuntimeError("the service has ended the connection")
        self._received.extend(data)

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


def as_run(socket: str, image: str) -> User:
    """Somebody who runs each machine by one request."""

    async def run_one(ours: Client) -> None:
        answer = await ours.done("POST", "/v1/runs", json.dumps({"spec": {"image": image}}).encode())
        run = json.loads(answer.body)
        if run["report"]["exit_code"] != 0:
            raise RuntimeError(f"{image} has failed: {run['report']}")

    return _user(socket, run_one)


def _user(socket: str, run_one: Callable[[Client], Awaitable[None]]) -> User:
    @asynccontextmanager
    async def user() -> AsyncIterator[RunOne]:
        async with client(socket) as ours:
            yield partial(run_one, ours)

    return user


async def run_many(socket: str, image: str, count: int, at_once: int) -> None:
    """So many of them by one request."""
    async with client(socket) as ours:
        wish = {"spec": {"image": image}, "count": count, "at_once": at_once}
        answer = await ours.done("POST", "/v1/runs/many", json.dumps(wish).encode())
    runs = json.loads(answer.body)["runs"]
    if [run["report"]["exit_code"] for run in runs] != [0] * count:
        raise RuntimeError(f"{image} has failed: {runs}")


def over_http(socket: str, image: str) -> User:
    """Somebody who starts each machine, reads what it prints to its end, takes its report, and removes it."""

    async def run_one(ours: Client) -> None:
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

    return _user(socket, run_one)
