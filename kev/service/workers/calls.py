"""Calls of one worker that wait for their answers."""

import json
from collections.abc import Callable
from typing import Any, Final

import trio

import kev.machine.api  # noqa: F401  so that the classes of errors are known
from kev.errors import KevError
from kev.machine.errors import MachineError
from kev.service.workers.framing import MOST_ANSWER, MOST_CONTENTS, Frame, FrameKind, ProtocolError, pack, parse
from kev.service.workers.stream import Stream
from kev.user_json import Mismatch, Shape, each, record, text

_ERROR: Final = record({"classes": each(text), "message": text})


def nothing(value: Any, where: str) -> None:
    """The shape of an answer that only says that something is done."""
    if value is not None:
        raise Mismatch.of(where, value, "null")


def anything(_value: Any, _where: str) -> None:
    """The shape of an answer that nobody looks at."""


def binary(value: Any, where: str) -> None:
    """The shape of bytes."""
    if type(value) is not bytes:
        raise Mismatch.of(where, value, "bytes")


class WorkerFailed(Exception):
    """A worker could not do what it was asked for, through a fault of kev. Its log has the traceback."""


class Call:
    """One of them."""

    def __init__(self, number: int, shape: Shape, then: "Callable[[Call], object] | None" = None) -> None:
        """`then` is called when it is answered."""
        self.number: Final = number
        self.shape: Final = shape
        self.then: Final = then
        self.answered: Final = trio.Event()
        self.parts: Final = bytearray()
        self.value: Any = None
        self.error: Exception | None = None

    def note_answer(self) -> None:
        """`value` or `error` is what the worker has answered."""
        self.answered.set()
        if self.then is not None:
            self.then(self)


class Calls:
    """Numbers calls, and gives each its answer."""

    def __init__(self, stream: Stream) -> None:
        self._stream: Final = stream
        self._number = 0
        self._open: Final[dict[int, Call]] = {}
        self._lost: KevError | None = None
        self._ahead = b""

    def __bool__(self) -> bool:
        """Whether one waits."""
        return bool(self._open)

    async def call(self, name: str, arguments: dict[str, Any], shape: Shape = nothing, descriptors: tuple[int, ...] = ()) -> Any:
        """What the worker answers, which has that shape; the error that it answers with, or the one that `lose` is given.

        If the caller is cancelled, so is what the worker does, and this returns when it has come to its end.
        """
        call = await self.begin(name, arguments, shape, descriptors=descriptors)
        try:
            await call.answered.wait()
        except trio.Cancelled:
            await self.cancel(call)
            raise
        if call.error is not None:
            raise call.error
        return call.value

    async def begin(
        self,
        name: str,
        arguments: dict[str, Any],
        shape: Shape,
        then: Callable[[Call], object] | None = None,
        descriptors: tuple[int, ...] = (),
    ) -> Call:
        """The same without waiting for the answer, with which `then` is called, if it is given."""
        if self._lost is not None:
            raise self._lost
        self._number += 1
        number = self._number
        contents = json.dumps({"name": name, "arguments": arguments}).encode()
        if len(contents) > MOST_CONTENTS:
            raise MachineError(f"{name}: {len(contents)} bytes are too much to ask for: the most are {MOST_CONTENTS}")
        call = self._open[number] = Call(number, shape, then)
        ahead, self._ahead = self._ahead, b""
        await self._write(ahead + pack(FrameKind.CALL, number, contents), descriptors)
        return call

    def put_ahead(self, frame: bytes) -> None:
        """It is written with the next call, before that."""
        self._ahead = frame

    async def cancel(self, call: Call) -> None:
        """Nobody wants the answer any more. Returns when it has come all the same."""
        await self._write(pack(FrameKind.CANCEL, call.number))
        with trio.CancelScope(shield=True):
            await call.answered.wait()

    async def _write(self, frame: bytes, descriptors: tuple[int, ...] = ()) -> None:
        try:
            with trio.CancelScope(shield=True):
                await self._stream.write(frame, descriptors)
        except OSError:
            # Whoever reads its stream finds out how it ended.
            return

    def take(self, frame: Frame) -> None:
        """A frame that belongs to an answer. ProtocolError if nobody waits for it, or if it cannot be one."""
        call = self._open.get(frame.number)
        if call is None:
            raise ProtocolError(f"an answer to call {frame.number}, which nobody waits for")
        if len(call.parts) + len(frame.contents) > MOST_ANSWER:
            raise ProtocolError(f"an answer of more than {MOST_ANSWER >> 20} MiB")
        if frame.kind is FrameKind.ERROR:
            call.error = _error(parse(frame, _ERROR))
        else:
            call.parts.extend(frame.contents)
            if frame.kind is FrameKind.PART:
                return
            whole = bytes(call.parts)
            if frame.kind is FrameKind.DATA and call.shape not in (binary, anything):
                raise ProtocolError(f"bytes for an answer to call {frame.number}")
            call.value = whole if frame.kind is FrameKind.DATA else parse(frame._replace(contents=whole), call.shape)
        del self._open[frame.number]
        call.note_answer()

    def lose(self, error: KevError) -> None:
        """There will be no answers any more: `error` is one to all calls from now on."""
        self._lost = error
        calls = [*self._open.values()]
        self._open.clear()
        for call in calls:
            call.error = error
            call.note_answer()


def _error(told: dict[str, Any]) -> Exception:
    """The error that a worker tells of: of the first class that is known here."""
    known = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in _errors(KevError)}
    for name in told["classes"]:
        if name in known:
            error = known[name].__new__(known[name], told["message"])
            Exception.__init__(error, told["message"])
            return error
    return WorkerFailed(told["message"])


def _errors(kind: type[KevError]) -> list[type[KevError]]:
    return [kind, *(below for subclass in kind.__subclasses__() for below in _errors(subclass))]
