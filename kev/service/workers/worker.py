"""What goes on in a worker: one machine, and what the service asks of it."""

import base64
import json
import os
import socket
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import Any, Final, NoReturn

import trio

from kev import log
from kev.addressing import KIB
from kev.errors import KevError
from kev.machine.api import opened, wanted_machine
from kev.machine.errors import MachineError
from kev.machine.machine import Machine
from kev.service.endings import described_ending
from kev.service.errors import MachineLost
from kev.service.home import Status
from kev.service.in_process import InProcessHome, InProcessHomes
from kev.service.page_cells import CellsWanted
from kev.service.workers.channel import Channel
from kev.service.workers.confinement import Confinement
from kev.service.workers.confinement.machine import MachineConfinement, files_of
from kev.service.workers.framing import MOST_ANSWER, PIECE, Frame, FrameKind, ProtocolError, pack, pack_json, pieces
from kev.service.workers.once import run_once
from kev.snapshot.new_file import GivenFile
from kev.spec.machine_spec import MachineSpec

_TOGETHER: Final = 0.002
"""Seconds within which what is printed goes to the service together."""
_SOON: Final = 0.01
"""Seconds within which nothing is told of a run that passes: if it is over then, all is told together. The client of a machine that
stays waits for no more than that it runs: `_TOGETHER`."""
_LONGEST_MESSAGE: Final = 16 * KIB
"""Characters of an error that is none of kev's: those have a limit of their own."""


def work(stream: socket.socket, log_level: str) -> NoReturn:
    """The life of a worker, until the service, which is at the other end of `stream`, says so or is gone."""
    channel = Channel(stream)
    log.redirect(log_level, partial(_log, channel))
    try:
        trio.run(Worker(channel).live)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def _log(channel: Channel, level: str, event: str, fields: dict[str, object]) -> None:
    described = {name: value if isinstance(value, str | int | float) else repr(value) for name, value in fields.items()}
    channel.write(pack_json(FrameKind.LOG, {"level": level, "event": event, "fields": described}))


class WorkerTurn:
    """The machine's turn to compute, as its worker knows it: see `kev.service.workers.turns`."""

    def __init__(self, channel: Channel) -> None:
        """It has its turn."""
        self._channel: Final = channel
        self.lasts = True
        self._waits = False
        self._news = trio.Event()

    async def take(self) -> None:
        """Returns when it is this machine's turn."""
        self._waits = True
        try:
            self._want()
            while not self.lasts:
                await self._news.wait()
        finally:
            self._waits = False

    def begin(self) -> None:
        self._note(lasts=True)

    def end(self) -> None:
        """Others want to."""
        self._channel.write(pack(FrameKind.BACK))
        self.go_on()

    def go_on(self) -> None:
        """The machine has stood still, or stands still, and has no turn now: it may want one."""
        self._note(lasts=False)
        if self._waits:
            self._want()

    def _want(self) -> None:
        self._channel.write(pack(FrameKind.WANT))

    def _note(self, *, lasts: bool) -> None:
        self.lasts = lasts
        news, self._news = self._news, trio.Event()
        news.set()


class Worker:
    """Answers calls, of which the first makes the machine, until the last one."""

    def __init__(self, channel: Channel) -> None:
        self._channel: Final = channel
        self._calls: Final[dict[int, trio.CancelScope]] = {}
        """Those that are not answered."""
        self._home: InProcessHome | None = None
        self._wanted = MachineSpec()
        """What the machine was made as."""
        self._tells = True
        """The service is told where the machine is in its life."""
        self._confined_for: MachineSpec | None = None
        """What all machines of this process have in common."""
        self._output: Final = bytearray()
        """What was printed and not passed on."""
        self._has_output = trio.Event()
        self._flushed = 0.0
        self._together = _TOGETHER
        self._turn = WorkerTurn(channel)
        self._was_paused = False
        self._is_beginning = False
        self._held: Final[list[Frame]] = []
        """Calls that have come while a machine is begun: they are for it when it can be asked for something."""

    async def live(self) -> None:
        """Until the machine is closed, or the service is gone."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._flush_soon)
            self._homes = InProcessHomes(nursery)
            while True:
                for frame in await self._channel.read():
                    self._take(frame)

    def _take(self, frame: Frame) -> None:
        if frame.kind is FrameKind.PING:
            self._channel.write(pack(FrameKind.PING))
        elif frame.kind is FrameKind.TURN:
            self._turn.begin()
        elif frame.kind is FrameKind.YIELD:
            self._turn.end()
        elif frame.kind is FrameKind.CANCEL:
            if frame.number in self._calls:
                self._calls[frame.number].cancel()
        elif frame.kind is FrameKind.CALL and self._is_beginning:
            self._held.append(frame)
        elif frame.kind is FrameKind.CALL:
            self._nursery.start_soon(self._answer, frame.number, self._called(frame))
        else:
            raise ProtocolError(f"a frame of kind {frame.kind.name} to a worker")

    # What the machine is watched by.

    def printed(self, data: bytes) -> None:
        """Passed on at once; in a flood, together with what comes soon after. Of a run of which only the end counts, at that."""
        self._output.extend(data)
        if len(self._output) >= PIECE or (self._tells and time.perf_counter() - self._flushed > self._together):
            self._flush()
        elif self._tells:
            self._has_output.set()

    async def _flush_soon(self) -> None:
        while True:
            await self._has_output.wait()
            self._has_output = trio.Event()
            self._flush()

    def _flush(self) -> None:
        if self._output:
            self._channel.write(b"".join(pack(FrameKind.OUTPUT, 0, piece) for piece in pieces(bytes(self._output))))
            self._output.clear()
        self._flushed = time.perf_counter()

    def changed(self, status: Status) -> None:
        self._flush()
        if self._tells:
            told = {"state": status.state, "ending": described_ending(status.ending)}
            self._channel.write(pack_json(FrameKind.STATUS, told))
        if status.state == "running" and self._was_paused:
            self._turn.go_on()
        self._was_paused = status.state == "paused"

    # Calls.

    def _called(self, frame: Frame) -> Callable[[], Awaitable[Any]]:
        """What a call is to do. Noted at once, so that it can be cancelled before it has begun."""
        self._calls[frame.number] = trio.CancelScope()
        call = json.loads(frame.contents)
        name, arguments = call["name"], call["arguments"]
        if name == "snapshot":
            # Descriptors belong to calls in their order, which tasks do not keep.
            arguments["file"] = GivenFile(arguments["file"], self._channel.take_descriptor())
        return partial(self._do, name, arguments)

    async def _answer(self, number: int, call: Callable[[], Awaitable[Any]]) -> None:
        scope = self._calls[number]
        try:
            with scope:
                answer = _result(number, await call())
            frames = [_error(number, trio.Cancelled, "")] if scope.cancelled_caught else answer
        except KevError as error:
            frames = [_error(number, type(error), str(error))]
        except Exception as error:
            traceback.print_exc()
            frames = [_error(number, type(error), f"{type(error).__name__}: {error}")]
        del self._calls[number]
        self._flush()
        for frame in frames:
            self._channel.write(frame)

    async def _do(self, name: str, arguments: dict[str, Any]) -> Any:
        if name == "open":
            return await self._open(**arguments)
        if name == "run":
            return await self._run(**arguments)
        if name == "close":
            return await self._close(**arguments)
        if name == "run_to_end":
            return await self._run_to_end()
        if self._home is None:
            raise MachineLost("the machine is closed")
        if name == "send":
            return await self._home.send(arguments["data"].encode("latin-1"))
        if name == "page_cells":
            return await self._home.page_cells(CellsWanted(**arguments))
        if name == "snapshot":
            with closing(arguments.pop("file")) as file:
                return await self._home.snapshot(file, **arguments)
        if name not in _OTHER_CALLS:
            raise ProtocolError(f"a call of {name!r}")
        return await getattr(self._home, name)(**arguments)

    async def _open(self, spec: str, confinement: Sequence[bool]) -> None:
        wanted = self._get_ready(spec)
        confine = self._confining(wanted, confinement)
        home = self._home = await self._homes.open(wanted, self)
        self._take_turns(home)
        confine(home.machine)

    async def _run(self, spec: str, confinement: Sequence[bool], passes: bool) -> dict[str, Any] | None:
        """Makes a machine that runs at once. If its run is soon over, what there is to tell of it, and it is closed already: it
        needs none of the tasks that others have.
        """
        self._is_beginning = True
        try:
            return await self._begin(spec, confinement, passes)
        finally:
            self._is_beginning = False
            held = self._channel.take_early() + self._held
            self._held.clear()
            for frame in held:
                self._take(frame)

    async def _begin(self, spec: str, confinement: Sequence[bool], passes: bool) -> dict[str, Any] | None:
        wanted = self._get_ready(spec)
        confine = self._confining(wanted, confinement)
        with ExitStack() as files:
            machine = files.enter_context(opened(wanted_machine(wanted, {})))
            machine.vm.expects_input = True
            confine(machine)
            home = InProcessHome(machine, self, wanted.timeout)
            policy_has_run = home.begin(self._beginning(home, _SOON if passes else _TOGETHER))
            if machine.ending is not None:
                return await _all_told(home, passes=passes)
            home.note()
            with trio.CancelScope(shield=True):
                await self._homes.go_on(home, files, policy_has_run=policy_has_run)
            self._home = home
            self._take_turns(home)
        return None

    def _beginning(self, home: InProcessHome, soon: float) -> Callable[[], bool]:
        """Says, while a machine is begun, whether somebody needs it; tells what there is, unless it is over in `soon` seconds."""
        self._flushed = began = time.perf_counter()
        self._together = soon
        is_told = False

        def look() -> bool:
            nonlocal is_told
            if not is_told and time.perf_counter() - began > soon:
                is_told = True
                self._together = _TOGETHER
                home.note()
            return self._channel.is_called()

        return look

    def _get_ready(self, spec: str) -> MachineSpec:
        """For a machine that is about to be made. ProtocolError if this process may not have it."""
        wanted = MachineSpec.from_json(spec)
        if self._confined_for is not None and (self._home is not None or files_of(wanted) != self._confined_for):
            raise ProtocolError("a machine that this process is not confined for")
        self._turn = WorkerTurn(self._channel)
        self._was_paused = False
        self._tells = True
        self._together = _TOGETHER
        self._wanted = wanted
        return wanted

    def _confining(self, wanted: MachineSpec, confinement: Sequence[bool]) -> Callable[[Machine], None]:
        """What is to be called when the machine is made. What this process may, cannot be changed later."""
        if self._confined_for is not None:
            return _stay_confined
        confined = MachineConfinement(Confinement(*confinement))
        confined.before(wanted)

        def confine(machine: Machine) -> None:
            confined.after(wanted, machine)
            self._confined_for = files_of(wanted)

        return confine

    def _take_turns(self, home: InProcessHome) -> None:
        if home.machine.runtime is not None:
            home.machine.runtime.turn = self._turn

    async def _run_to_end(self) -> dict[str, Any]:
        """The machine, or another one like it if it is over."""
        self._tells = False
        if not self._turn.lasts:
            await self._turn.take()
        if (home := self._home) is None:
            ending, report = await run_once(self._wanted, self.printed, self._turn)
            return {"ending": described_ending(ending), "report": report}
        try:
            if home.machine.ending is None:  # its time may have been up before
                await home.start()
            await home.machine.wait()
            return {"ending": described_ending(home.machine.ending), "report": await home.report()}
        finally:
            self._home = None
            with trio.CancelScope(shield=True):
                await home.aclose()

    async def _close(self, stays: bool) -> None:
        """`stays`: there may be another machine."""
        if self._home is not None:
            await self._home.aclose()
            self._home = None
        if not stays:
            self._nursery.cancel_scope.cancel()


async def _all_told(home: InProcessHome, *, passes: bool) -> dict[str, Any]:
    """Of a machine whose run is over."""
    told = {
        "ending": described_ending(home.machine.ending),
        "figures": await home.figures(),
        "report": await home.report(),
    }
    if passes:
        return told
    return told | {"pages": await home.pages(), "screenshot": base64.b64encode(await home.screenshot()).decode()}


def _stay_confined(_machine: Machine) -> None:
    """For another machine in a process that is confined already."""


_OTHER_CALLS: Final = frozenset(
    (
        "start",
        "pause",
        "resume",
        "stop",
        "press_ctrl_alt_delete",
        "report",
        "figures",
        "pages",
        "registers",
        "read_memory",
        "screenshot",
    )
)


def _result(number: int, result: Any) -> list[bytes]:
    is_data = isinstance(result, bytes)
    contents = result if is_data else json.dumps(result, separators=(",", ":")).encode()
    if len(contents) > MOST_ANSWER:
        raise MachineError(f"{len(contents)} bytes are too much to tell: the most are {MOST_ANSWER}")
    *parts, last = pieces(contents)
    return [
        *(pack(FrameKind.PART, number, part) for part in parts),
        pack(FrameKind.DATA if is_data else FrameKind.VALUE, number, last),
    ]


def _error(number: int, kind: type[BaseException], message: str) -> bytes:
    """With the names of the error's classes: the service takes the first that it knows."""
    classes = [f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__ if issubclass(base, KevError)]
    return pack_json(FrameKind.ERROR, {"classes": classes, "message": message[:_LONGEST_MESSAGE]}, number)
