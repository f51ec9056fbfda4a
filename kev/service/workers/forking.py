"""The service's side of the fork server: makes worker processes, and knows how each of them has ended."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Final

import trio

from kev import log
from kev.machine.ungrouped import ungrouped
from kev.service.errors import NoWorker
from kev.service.workers.dying import how_it_ended
from kev.service.workers.fork_server_process import ForkServerProcess
from kev.service.workers.framing import Frame, FrameKind, ProtocolError, pack_json, parse
from kev.service.workers.stream import Stream
from kev.user_json import integer, optional, record, text

_FORKED: Final = record({"process": optional(integer(1))}, {"reason": text})
_TOLD: Final = record({"process": integer(1), "code": integer(-255, 255)})


class WorkerProcess:
    """A process that has a machine, or waits for one."""

    def __init__(self, stream: Stream, errors: trio.lowlevel.FdStream, server: "ForkServer") -> None:
        self.number = 0
        """Its number with the operating system."""
        self.stream: Final = stream
        self.errors: Final = errors
        """What it writes to its standard error."""
        self.ended: Final = trio.Event()
        self.how = ""
        """How it has ended, when it has."""
        self.machines = 0
        """That were made in it."""
        self.logged = 0
        """Events and lines of it that have gone to the log."""
        self._server: Final = server

    def kill(self) -> None:
        """At once, whatever it does. `ended` is set soon."""
        self._server.kill(self)

    def note_end(self, how: str) -> None:
        self.how = how
        self.ended.set()

    async def aclose(self) -> None:
        """Gives back the descriptors: a process that is there ends by itself, unless it hangs."""
        self.stream.close()
        await self.errors.aclose()


class _Forking:
    """A fork that was asked for."""

    def __init__(self, process: WorkerProcess) -> None:
        self.process: Final = process
        self.refusal = ""
        self.answered: Final = trio.Event()


class ForkServer:
    """One that runs, until it is `gone`."""

    def __init__(self, stream: Stream, nursery: trio.Nursery) -> None:
        self._stream: Final = stream
        self._nursery: Final = nursery
        self._number = 0
        self._forkings: Final[dict[int, _Forking]] = {}
        self._processes: Final[dict[int, WorkerProcess]] = {}
        """Those that have not ended, by their numbers."""
        self.gone: Final = trio.Event()

    async def fork(self) -> WorkerProcess:
        """Another worker. NoWorker if the host has none."""
        try:
            with ExitStack() as theirs:
                process, descriptors = _new_process(self, theirs)
                return await self._forked(process, descriptors)
        except OSError as error:
            raise NoWorker(f"a worker process cannot be started: {error.strerror}") from error

    async def _forked(self, process: WorkerProcess, descriptors: tuple[int, int]) -> WorkerProcess:
        forking = _Forking(process)
        self._number += 1
        self._forkings[self._number] = forking
        try:
            if self.gone.is_set():
                raise NoWorker(_GONE)
            with suppress(BrokenPipeError, ConnectionResetError):  # then it is told that it is gone
                await self._stream.write(pack_json(FrameKind.CALL, {"name": "fork"}, self._number), descriptors)
            await forking.answered.wait()
            if forking.refusal:
                raise NoWorker(f"a worker process cannot be started: {forking.refusal}")
        except BaseException:
            with trio.CancelScope(shield=True):
                await process.aclose()
            raise
        return process

    def kill(self, process: WorkerProcess) -> None:
        """It makes no difference if the process has ended."""
        if not process.ended.is_set():
            self._nursery.start_soon(self._kill, process.number)

    async def _kill(self, number: int) -> None:
        # While it is there, nobody else has its number.
        if number in self._processes and not self.gone.is_set():
            try:
                await self._stream.write(pack_json(FrameKind.CALL, {"name": "kill", "process": number}))
            except OSError:
                return

    async def listen(self) -> None:
        """Until the fork server is gone: then all of its processes are."""
        try:
            while frames := await self._stream.read():
                for frame in frames:
                    self._take(frame)
        except ProtocolError as error:
            log.warning("the fork server does not say what it should", error=str(error))
        finally:
            self._note_gone()

    def _take(self, frame: Frame) -> None:
        if frame.kind is FrameKind.VALUE:
            answer = parse(frame, _FORKED)
            forking = self._forkings.pop(frame.number)
            if answer["process"] is None:
                forking.refusal = answer["reason"]
            else:
                forking.process.number = answer["process"]
                self._processes[answer["process"]] = forking.process
            forking.answered.set()
            return
        told = parse(frame, _TOLD)
        self._processes.pop(told["process"]).note_end(how_it_ended(told["code"]))

    def _note_gone(self) -> None:
        self.gone.set()
        for forking in self._forkings.values():
            forking.refusal = _GONE
            forking.answered.set()
        for process in self._processes.values():
            process.note_end(f"ended: {_GONE}")
        self._processes.clear()


_GONE: Final = "the process that workers are forked from is gone"


def _new_process(server: ForkServer, theirs: ExitStack) -> tuple[WorkerProcess, tuple[int, int]]:
    """A process that is to be, and the descriptors that it is given, which are closed with `theirs`. OSError."""
    ours, other = socket.socketpair()
    theirs.enter_context(other)
    try:
        reads, writes = os.pipe2(os.O_CLOEXEC)
    except OSError:
        ours.close()
        raise
    theirs.callback(os.close, writes)
    return WorkerProcess(Stream(ours), trio.lowlevel.FdStream(reads), server), (other.fileno(), writes)


@asynccontextmanager
async def fork_server(process: ForkServerProcess) -> AsyncIterator[ForkServer]:
    """What workers are forked from in the block, with which they end."""
    stream = Stream(process.connect())
    try:
        with ungrouped():
            async with trio.open_nursery() as nursery:
                server = ForkServer(stream, nursery)
                nursery.start_soon(server.listen)
                yield server
                nursery.cancel_scope.cancel()
    finally:
        stream.close()
