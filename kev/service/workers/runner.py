"""Runs in a worker that makes its machine anew each time."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

from kev.errors import KevError
from kev.service.home import Observer, Run, Runner
from kev.service.runs import Output
from kev.service.workers.home import WorkerHome
from kev.service.workers.used import MOST_MACHINES

_Open: TypeAlias = Callable[[Observer], Awaitable[WorkerHome]]


@asynccontextmanager
async def worker_runner(open_home: _Open, most: int) -> AsyncIterator[Runner]:
    """One in a home that `open_home` makes; in another one if that is lost. `most`: bytes of output that are kept of each run."""
    runner = _WorkerRunner(open_home, most)
    try:
        yield runner
    finally:
        await runner.leave()


class _WorkerRunner:
    """See `kev.service.runs.Runner`."""

    def __init__(self, open_home: _Open, most: int) -> None:
        self._open_home: Final = open_home
        self._output: Final = Output(most)
        self._home: WorkerHome | None = None

    async def run(self) -> Run:
        try:
            if self._home is None:
                self._home = await self._open_home(self._output)
            ending, report = await self._home.run_to_end()
        except KevError as error:
            await self.leave()
            return Run(None, None, *self._output.take(), str(error))
        if self._home.worker.machines >= MOST_MACHINES:
            await self.leave()
        return Run(ending, report, *self._output.take())

    async def leave(self) -> None:
        home, self._home = self._home, None
        if home is not None:
            await home.aclose()
