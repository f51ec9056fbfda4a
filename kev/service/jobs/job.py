"""One job: its process, how far it is, and what it has come to."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Literal

import trio

from kev import log
from kev.errors import one_line
from kev.service.jobs.command import Command, environment
from kev.service.machines.machine import time_text

_LARGEST_RESULT: Final = 16 << 20
_LONGEST_LINE: Final = 500
_PATIENCE: Final = 5.0
"""Seconds that a process has to end when it is told to."""
_MISTAKE: Final = 2


class Job:
    """`cancel` ends it, at whatever time."""

    def __init__(self, id: str, kind: str, asked: dict[str, Any], changed: Callable[["Job"], object]) -> None:
        self.id: Final = id
        self.kind: Final = kind
        self.asked: Final = asked
        self.state: Literal["waiting", "running", "done", "failed", "cancelled"] = "waiting"
        self.progress = ""
        self.result: Any = None
        self.message = ""
        self.over: Final = trio.Event()
        self._created: Final = datetime.now(UTC)
        self._ended: datetime | None = None
        self._changed: Final = changed
        self._scope: Final = trio.CancelScope()

    def describe(self) -> dict[str, Any]:
        """As clients see it."""
        return {
            "id": self.id,
            "kind": self.kind,
            "state": self.state,
            "request": self.asked,
            "created": time_text(self._created),
            "ended": None if self._ended is None else time_text(self._ended),
            "progress": self.progress,
            "result": self.result,
            "message": self.message,
        }

    def cancel(self) -> None:
        self._scope.cancel()

    def give_up(self, why: str) -> None:
        """It does not come to run."""
        self._fail(why)
        self._end()

    async def run(self, command: Command, places: trio.CapacityLimiter, folder: str) -> None:
        """Until the process has ended; at most as many run at once as there are places."""
        with self._scope:
            async with places:
                self.state = "running"
                self._note()
                try:
                    await self._run(command, folder)
                except OSError as error:
                    self._fail(f"its process cannot be started: {error.strerror}")
        if self._scope.cancelled_caught:
            self.state = "cancelled"
        self._end()

    async def _run(self, command: Command, folder: str) -> None:
        process = await trio.lowlevel.open_process(
            command.arguments(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(folder),
            cwd=folder,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        printed = bytearray()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._follow, process.stderr)
                async for data in process.stdout:
                    printed += data
                    if len(printed) > _LARGEST_RESULT:
                        self._fail(f"its result has more than {_LARGEST_RESULT:,} bytes")
                        nursery.cancel_scope.cancel()
            if self.state == "running":
                self._conclude(await process.wait(), bytes(printed), command)
        finally:
            with trio.CancelScope(shield=True):
                await _end_process(process)

    def _conclude(self, exit_code: int, printed: bytes, command: Command) -> None:
        if exit_code not in (0, 1):
            self._fail(self.progress or f"it ended with exit code {exit_code}")
            return
        try:
            if command.result is not None:
                printed = command.result.read_bytes() if command.result.stat().st_size <= _LARGEST_RESULT else b""
            self.result = json.loads(printed)
            self.state = "done"
        except (OSError, ValueError) as error:
            self._fail(f"it left no result: {error}; the last it said is {self.progress!r}")

    def _end(self) -> None:
        self._ended = datetime.now(UTC)
        self.over.set()
        self._note()

    def _fail(self, message: str) -> None:
        self.state, self.message = "failed", one_line(message.removeprefix("kev: "))

    async def _follow(self, errors: trio.abc.ReceiveStream) -> None:
        """The last line that it writes there says how far it is."""
        rest = b""
        async for data in errors:
            *lines, rest = (rest + data).replace(b"\r", b"\n").split(b"\n")
            rest = rest[-_LONGEST_LINE:]
            found = [line for line in lines if line.strip()]
            if found:
                self.progress = one_line(found[-1][:_LONGEST_LINE].decode(errors="replace").strip())
                self._changed(self)

    def _note(self) -> None:
        log.info("job", id=self.id, kind=self.kind, state=self.state)
        self._changed(self)


async def _end_process(process: trio.Process) -> None:
    """Also what it has started: they are one process group, which is killed when its standard input is closed."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with trio.move_on_after(_PATIENCE):
            await process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            await stream.aclose()
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
