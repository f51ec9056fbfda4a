"""Firecracker's API without a socket, over machines in this process; and the guests as files."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import trio

from kev.service.firecracker.app import application
from kev.service.firecracker.microvm import Microvm
from kev.service.in_process import InProcessHomes
from tests.guests.images import read_file


class Console:
    """What the guest has printed."""

    def __init__(self) -> None:
        self.text = b""
        self._news = trio.Event()

    def put(self, data: bytes) -> None:
        self.text += data
        self._news.set()
        self._news = trio.Event()

    async def expect(self, text: bytes) -> None:
        with trio.fail_after(60):
            while text not in self.text:
                await self._news.wait()


class Client:
    """A client of the API of one machine."""

    def __init__(self, microvm: Microvm, http: httpx.AsyncClient, console: Console) -> None:
        self.microvm = microvm
        self.console = console
        self.http = http

    async def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return await self.http.request(method, path, json=body)

    async def put(self, path: str, **body: Any) -> None:
        response = await self.ask("PUT", path, body)
        assert (response.status_code, response.text) == (204, ""), response.text

    async def patch(self, path: str, **body: Any) -> None:
        response = await self.ask("PATCH", path, body)
        assert (response.status_code, response.text) == (204, ""), response.text

    async def get(self, path: str) -> Any:
        response = await self.ask("GET", path)
        assert response.status_code == 200
        return response.json()

    async def fault(self, method: str, path: str, body: Any = None) -> str:
        response = await self.ask(method, path, body)
        assert (response.status_code, list(response.json())) == (400, ["fault_message"])
        message: str = response.json()["fault_message"]
        return message

    async def start(self) -> None:
        await self.put("/actions", action_type="InstanceStart")

    async def ended(self) -> int | None:
        """What the machine ends with, when it has."""
        with trio.fail_after(60):
            await self.microvm.ended.wait()
        return None if self.microvm.ending is None else self.microvm.ending.exit_code


@asynccontextmanager
async def serving() -> AsyncIterator[Client]:
    console = Console()
    async with trio.open_nursery() as nursery:
        microvm = Microvm(InProcessHomes(nursery), "test", console.put)
        transport = httpx.ASGITransport(application(microvm))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            yield Client(microvm, http, console)
        await microvm.end()
        nursery.cancel_scope.cancel()


def guest_file(folder: Path, name: str) -> str:
    file = folder / name
    file.write_bytes(read_file(name))
    return str(file)
