"""Who listens to a worker, whatever machines live in it one after the other."""

from typing import Any, Final, Protocol

import trio

from kev import log
from kev.service.workers.forking import WorkerProcess
from kev.service.workers.framing import Frame, FrameKind, ProtocolError, parse
from kev.user_json import one_of, record, text

_END_PATIENCE: Final = 5.0
"""Seconds that a process may take to be gone when it has closed its stream."""
_MOST_LOGGED: Final = 1000
"""Events and lines of one worker: a guest that has taken it over writes no more into the log of its service."""
_LONGEST_LINE: Final = 4096
_OF_THE_LAST: Final = (FrameKind.PING, FrameKind.WANT, FrameKind.BACK)
"""What a worker without a machine may say: it has crossed the end of the last one."""
_LOG: Final = record({"level": one_of(*log.LEVELS), "event": text, "fields": record({})})


class Tenant(Protocol):
    """A machine in a worker."""

    @property
    def image(self) -> str: ...

    def note_word(self) -> None:
        """The worker says something."""

    def take(self, frame: Frame) -> None:
        """What it says. ProtocolError."""

    def note_gone(self, how: str, *, is_wanted: bool) -> None:
        """The worker has ended so. `is_wanted`: nobody has told it to."""


class Attendant:
    """Of one worker that has had a machine."""

    def __init__(self, worker: WorkerProcess) -> None:
        self.worker: Final = worker
        self.tenant: Tenant | None = None
        self.is_over = False
        """The worker is gone, or about to be."""
        self._last_image = ""
        self._killed_for = ""
        """Why it was killed, if it was."""
        self._needed: Final = trio.CancelScope()

    async def live(self) -> None:
        """Until the worker is gone. If this is cancelled, the worker is killed."""
        has_ended = False
        try:
            with self._needed:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._relay_errors)
                    await self._listen()
                has_ended = True
        finally:
            self.is_over = True
            if not has_ended:
                self.kill("is not needed any more")
            with trio.CancelScope(shield=True):
                how = await self._find_out_how_it_ended()
                tenant, self.tenant = self.tenant, None
                if tenant is not None:
                    tenant.note_gone(how, is_wanted=has_ended)
                await self.worker.aclose()

    def kill(self, why: str) -> None:
        self._killed_for = self._killed_for or f"{why}, and was killed"
        self.worker.kill()

    def dismiss(self) -> None:
        """The worker, which has no machine, is not needed any more."""
        self.is_over = True
        self._needed.cancel()

    async def _listen(self) -> None:
        try:
            while frames := await self.worker.stream.read():
                if self.tenant is not None:
                    self.tenant.note_word()
                for frame in frames:
                    self._take(frame)
        except ProtocolError as error:
            self.kill(f"does not keep to the protocol: {error}")
        finally:
            self.is_over = True

    def _take(self, frame: Frame) -> None:
        if frame.kind is FrameKind.LOG:
            told = parse(frame, _LOG)
            self._log(told["level"], told["event"], told["fields"])
        elif self.tenant is not None:
            self.tenant.take(frame)
        elif frame.kind not in _OF_THE_LAST:
            raise ProtocolError(f"a frame of kind {frame.kind.name} from a worker without a machine")

    async def _relay_errors(self) -> None:
        """What the worker writes to its standard error goes to the log, line by line."""
        rest = b""
        async for data in self.worker.errors:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._log("warning", "a worker says", {"line": line[:_LONGEST_LINE].decode(errors="replace")})
            rest = rest[:_LONGEST_LINE]

    def _log(self, level: str, event: str, fields: dict[str, Any]) -> None:
        if self.tenant is not None:
            self._last_image = self.tenant.image
        self.worker.logged += 1
        if self.worker.logged > _MOST_LOGGED:
            return
        if self.worker.logged == _MOST_LOGGED:
            level, event, fields = "warning", "a worker says more, which is not written down", {}
        log.emit(level, event, **{**fields, "machine": self._last_image, "process": self.worker.number})

    async def _find_out_how_it_ended(self) -> str:
        with trio.move_on_after(_END_PATIENCE):
            await self.worker.ended.wait()
        if not self.worker.ended.is_set():
            self.kill("has closed its stream")
            with trio.move_on_after(_END_PATIENCE):
                await self.worker.ended.wait()
        return self._killed_for or self.worker.how or "is gone"
