"""Runs of which only the end counts: many machines of one description, one after the other in one place."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from kev.errors import KevError
from kev.service.home import Homes, Run, Runner, Status
from kev.spec.machine_spec import MachineSpec


class Output:
    """An observer that keeps the end of what is printed, until it is taken."""

    def __init__(self, most: int) -> None:
        """`most`: bytes that are kept."""
        self._most: Final = most
        self._data = bytearray()
        self._printed = 0
        self.status = Status("created")
        self.over = trio.Event()

    def printed(self, data: bytes) -> None:
        self._printed += len(data)
        self._data += data
        if len(self._data) > self._most:
            del self._data[: -self._most]

    def changed(self, status: Status) -> None:
        self.status = status
        if status.state in ("ended", "lost"):
            self.over.set()

    def take(self) -> tuple[bytes, int]:
        """The end of what was printed since this was called, and how many bytes before that are not kept."""
        data, start = bytes(self._data), self._printed - len(self._data)
        self._data.clear()
        self._printed = 0
        return data, start


@asynccontextmanager
async def opening_runner(homes: Homes, spec: MachineSpec, client: str | None, most: int) -> AsyncIterator[Runner]:
    """One whose machines have a home of `homes` each."""
    yield _OpeningRunner(homes, spec, client, most)


class _OpeningRunner:
    """See `Runner`."""

    def __init__(self, homes: Homes, spec: MachineSpec, client: str | None, most: int) -> None:
        self._homes: Final = homes
        self._spec: Final = spec
        self._client: Final = client
        self._most: Final = most

    async def run(self) -> Run:
        output = Output(self._most)
        try:
            home = await self._homes.open(self._spec, output, client=self._client)
            try:
                await home.start()
                await output.over.wait()
                report = None if output.status.state == "lost" else await home.report()
            finally:
                with trio.CancelScope(shield=True):
                    await home.aclose()
        except KevError as error:
            return Run(None, None, *output.take(), str(error))
        return Run(output.status.ending, report, *output.take(), output.status.message)
