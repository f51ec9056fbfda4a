"""A machine in a worker, as the service holds it."""

import base64
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import trio

from kev.errors import KevError
from kev.machine.ending import Ending
from kev.service.endings import ENDING, told_ending
from kev.service.errors import MachineLost
from kev.service.home import Observer, Status
from kev.service.load_times import BOUNDS
from kev.service.page_cells import CellsWanted
from kev.service.workers.attendant import Attendant
from kev.service.workers.calls import Call, Calls, binary
from kev.service.workers.confinement import Confinement
from kev.service.workers.framing import PIECE, Frame, FrameKind, ProtocolError, pack, parse
from kev.service.workers.turns import Turn
from kev.snapshot.new_file import NewFile
from kev.spec.machine_spec import MachineSpec
from kev.user_json import LARGEST, Mismatch, Shape, each, integer, integers, named, number, one_of, optional, record, text

_OPENING_PATIENCE: Final = 120.0
"""Seconds that making a machine may take at least: what it is made from may have to come from far away."""
_WAKING_PATIENCE: Final = 2.0
"""Seconds that a worker which has waited may take to say that it is there. It has no machine yet, and another one costs little."""
_MAKING_PATIENCE: Final = 10.0
"""The same of one that is not asked, and says something when it has made its machine."""
_ANSWERS: Final = frozenset((FrameKind.PART, FrameKind.DATA, FrameKind.VALUE, FrameKind.ERROR))


def _load_counts(value: Any, where: str) -> None:
    integers(0, LARGEST)(value, where)
    if len(value) != len(BOUNDS) + 1:
        raise Mismatch.of(where, value, f"{len(BOUNDS) + 1} integers")


def _base64(value: Any, where: str) -> None:
    text(value, where)
    try:
        base64.b64decode(value, validate=True)
    except ValueError:
        raise Mismatch.of(where, value, "bytes in base64") from None


_STATUS: Final = record(
    {"state": one_of("created", "running", "paused", "ended"), "ending": optional(ENDING)},
)
_COUNTS: Final = {"pages_loaded": integer(), "violations": integer(), "exits": named(integer())}
_REPORT: Final = record(_COUNTS)
_FIGURES: Final = record({**_COUNTS, "load_times": record({"counts": _load_counts, "seconds": number(0, sys.float_info.max)})})
_RUN: Final = record({"ending": ENDING, "report": _REPORT})
_BEGUN: Final = optional(
    record({"ending": ENDING, "report": _REPORT, "figures": _FIGURES}, {"pages": record({}), "screenshot": _base64})
)
_REGISTERS: Final = each(named(integer(0, (1 << 64) - 1)))


class Waking(NamedTuple):
    """A worker that has to say something soon: if it does not, it is stopped, or hangs."""

    until: float
    """By trio's clock."""
    has_spoken: trio.Event
    attendant: Attendant


class WorkerHome:
    """See `kev.service.home.Home`."""

    def __init__(
        self,
        attendant: Attendant,
        image: str,
        observer: Observer,
        patience: float,
        stays: bool,
        over: "Callable[[WorkerHome], object]",
    ) -> None:
        """`attendant` listens to the worker. `stays`: when the machine is closed, the worker waits for another one, unless
        something has gone wrong. `over` is told when the worker is gone, or waits.
        """
        self.worker: Final = attendant.worker
        self.attendant: Final = attendant
        attendant.tenant = self
        self._over: Final = over
        self._image: Final = image
        self._observer: Final = observer
        self._patience: Final = patience
        self._calls: Final = Calls(self.worker.stream)
        self._status = Status("created")
        self._gone: Final = trio.Event()
        self._has_spoken: Final = trio.Event()
        self._is_open = False
        self._asked: float | None = None
        """When it was asked first whether it is there, since it has said anything."""
        self._closing = False
        self._may_stay: Final = stays
        self._runs = False
        """It has run machines to their ends."""
        self._turn: Turn | None = None
        self._to_tell: FrameKind | None = None
        """What the worker is told of its turn as soon as it takes it: what came before that is out of date."""
        self._tells = False
        self.has_left = False
        """The machine is closed, and its worker waits for another one."""
        self._begun: Final = trio.Event()
        """The machine runs that was to run at once, or it could not be made."""
        self._left_behind: Mapping[str, Any] = {}
        """What was told of the machine with the end of its run; it is closed then."""

    def take_turns(self, turn: Turn, nursery: trio.Nursery) -> None:
        """The machine has its first turn."""
        if self._gone.is_set() or self._status.state == "ended":  # nobody would end it
            turn.end()
            return

        def tell(kind: FrameKind) -> None:
            if self._tells:
                self._to_tell = kind
                return
            with suppress(OSError):  # whoever listens finds out how it ended
                if not self.worker.stream.write_at_once(pack(kind)):
                    # However much the worker wants that does not read, one task waits for it.
                    self._to_tell, self._tells = kind, True
                    nursery.start_soon(self._tell)

        self._turn = turn
        turn.tell_by(tell)

    async def _tell(self) -> None:
        try:
            with suppress(OSError, trio.ClosedResourceError):
                while self._to_tell is not None:
                    kind, self._to_tell = self._to_tell, None
                    await self.worker.stream.write(pack(kind))
        finally:
            self._tells = False

    async def open(self, spec: MachineSpec, confinement: Confinement) -> None:
        """Makes the machine, confined. KevError."""
        self.worker.machines += 1
        await self._calls.call("open", {"spec": spec.to_json(), "confinement": confinement})
        self._is_open = True

    async def run(self, spec: MachineSpec, confinement: Confinement, *, passes: bool) -> None:
        """Makes the machine, confined, and lets it run at once. Returns when that is known: mostly with the end of a run that is
        soon over. A worker that goes down meanwhile has lost the machine, unless it has had others before: then, as for all else
        that goes wrong, KevError.
        """
        self.worker.machines += 1
        asked = time.time()
        arguments = {"spec": spec.to_json(), "confinement": confinement, "passes": passes}
        call = await self._calls.begin("run", arguments, _BEGUN, partial(self._take_what_it_came_to, asked))
        try:
            await self._begun.wait()
        except trio.Cancelled:
            await self._calls.cancel(call)
            raise
        if isinstance(call.error, MachineLost) and self.worker.machines == 1 and self._status.state == "created":
            self._note(Status("lost", None, str(call.error)))
        elif call.error is not None and self._status.state == "created":
            raise call.error
        self._is_open = True

    def _take_what_it_came_to(self, asked: float, run: Call) -> None:
        """Soon after it has begun: the end of the run, if that was soon."""
        self._begun.set()
        if run.value is not None:
            self._left_behind = run.value
            self._is_open = True
            if self._stays:
                self._leave()
            if self._status.state == "created":
                self._note(Status("running", since=asked))
            self._note(Status("ended", told_ending(run.value["ending"])))
        elif run.error is not None and self._status.state == "running":
            self._kill(f"could not go on: {run.error}")

    def wake(self, *, asks: bool = True) -> "Waking":
        """The worker, which has waited, is to say something soon. To be called before `open`. If it is asked, it says that it is
        there before it makes the machine, however long that takes.
        """
        if asks:
            self._calls.put_ahead(pack(FrameKind.PING))
        patience = _WAKING_PATIENCE if asks else _MAKING_PATIENCE
        return Waking(trio.current_time() + patience, self._has_spoken, self.attendant)

    @property
    def has_said_anything(self) -> bool:
        return self._has_spoken.is_set()

    @property
    def should_answer(self) -> bool:
        """It has something to do."""
        return bool(self._calls) or self._status.state == "running"

    async def ask(self) -> None:
        """Asks whether it is there, or kills it if it was asked long ago. Making a machine may take longer than anything else."""
        patience = self._patience if self._is_open else max(self._patience, _OPENING_PATIENCE)
        now = trio.current_time()
        if self._asked is None:
            self._asked = now
            with suppress(OSError):  # whoever listens finds out how it ended
                await self.worker.stream.write(pack(FrameKind.PING))
        elif now - self._asked >= patience:
            self._kill(f"has said nothing for {now - self._asked:.0f} s")

    @property
    def image(self) -> str:
        return self._image

    def note_word(self) -> None:
        """See `Tenant`."""
        self._asked = None
        self._has_spoken.set()

    def take(self, frame: Frame) -> None:
        """See `Tenant`."""
        if frame.kind is FrameKind.OUTPUT:
            self._observer.printed(frame.contents)
        elif frame.kind in _ANSWERS:
            self._calls.take(frame)
        elif frame.kind is FrameKind.STATUS:
            told = parse(frame, _STATUS)
            self._note(Status(told["state"], told_ending(told["ending"])))
        elif frame.kind is FrameKind.WANT:
            if self._turn is not None and self._status.state == "running":
                self._turn.want()
        elif frame.kind is FrameKind.BACK:
            if self._turn is not None:
                self._turn.end()
        elif frame.kind is not FrameKind.PING:
            raise ProtocolError(f"a frame of kind {frame.kind.name} from a worker")

    def _note(self, status: Status) -> None:
        if self._status.state not in ("ended", "lost"):
            self._status = status
            if status.state == "running":
                self._begun.set()
            elif self._turn is not None:
                self._turn.end()
            self._observer.changed(status)

    def note_gone(self, how: str, *, is_wanted: bool) -> None:
        """See `Tenant`."""
        message = f"{self._image}: the machine is lost: its process {self.process} {how}"
        self._calls.lose(MachineLost(message))
        # One that is being made can still be made elsewhere.
        if is_wanted and not self._closing and (self._is_open or self._status.state == "running"):
            self._note(Status("lost", None, message))
        self._end()

    def _end(self) -> None:
        """There is nothing behind it any more."""
        if self._turn is not None:
            self._turn.end()
        self._gone.set()
        self._over(self)

    def _kill(self, why: str) -> None:
        self.attendant.kill(why)

    # As the service calls it.

    @property
    def status(self) -> Status:
        return self._status

    @property
    def process(self) -> int:
        return self.worker.number

    async def start(self) -> None:
        await self._calls.call("start", {})

    async def run_to_end(self) -> tuple[Ending | None, dict[str, Any]]:
        """Runs the machine, which was not started, to its end, and then another one like it each time. How it ended, and its
        report. It can only be closed behind that. KevError.
        """
        # Nothing is told of where such machines are in their lives.
        self._status = Status("running")
        if self._runs:
            self.worker.machines += 1
        self._runs = True
        told = await self._calls.call("run_to_end", {}, _RUN)
        return told_ending(told["ending"]), told["report"]

    async def pause(self) -> None:
        await self._calls.call("pause", {})

    async def resume(self) -> None:
        await self._calls.call("resume", {})

    async def stop(self) -> None:
        await self._calls.call("stop", {})

    async def send(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            await self._calls.call("send", {"data": data[start : start + PIECE].decode("latin-1")})

    async def press_ctrl_alt_delete(self) -> None:
        await self._calls.call("press_ctrl_alt_delete", {})

    async def snapshot(self, file: Path, *, compress: bool = False) -> None:
        # The worker can make no files.
        new = NewFile(file)
        try:
            await self._calls.call("snapshot", {"file": new.name, "compress": compress}, descriptors=(new.descriptor,))
            await trio.to_thread.run_sync(new.commit)
        finally:
            new.discard()

    async def report(self) -> dict[str, Any]:
        return await self._told("report", _REPORT)

    async def figures(self) -> dict[str, Any]:
        return await self._told("figures", _FIGURES)

    async def pages(self) -> dict[str, Any]:
        return await self._told("pages", record({}))

    async def _told(self, what: str, shape: Shape) -> dict[str, Any]:
        told = self._left_behind.get(what)
        return cast(dict[str, Any], await self._calls.call(what, {}, shape) if told is None else told)

    async def page_cells(self, wanted: CellsWanted) -> dict[str, Any]:
        return cast(dict[str, Any], await self._calls.call("page_cells", wanted._asdict(), record({})))

    async def registers(self) -> list[dict[str, int]]:
        return cast(list[dict[str, int]], await self._calls.call("registers", {}, _REGISTERS))

    async def read_memory(self, gpa: int, length: int) -> bytes:
        return cast(bytes, await self._calls.call("read_memory", {"gpa": gpa, "length": length}, binary))

    async def screenshot(self) -> bytes:
        if "screenshot" in self._left_behind:
            return base64.b64decode(self._left_behind["screenshot"])
        return cast(bytes, await self._calls.call("screenshot", {}, binary))

    async def aclose(self) -> None:
        if self._gone.is_set():
            return
        with trio.CancelScope(shield=True):
            self._closing = True
            with trio.move_on_after(self._patience):
                with suppress(KevError):  # it is gone, which is what was asked for
                    stays = self._stays
                    await self._calls.call("close", {"stays": stays})
                    if stays:
                        self._leave()
                await self._gone.wait()
            if not self._gone.is_set():
                self._kill("does not end")
                await self._gone.wait()

    @property
    def _stays(self) -> bool:
        """A worker that still has something to say to somebody is of no use to anybody else."""
        return self._may_stay and self._is_open and not self._calls

    def _leave(self) -> None:
        """The worker waits for another machine, and has nothing to say any more."""
        if self._calls:
            self._kill("is asked for something by somebody still")
            return
        self.has_left = True
        self.attendant.tenant = None
        self._calls.lose(MachineLost(f"{self._image}: the machine is closed"))
        self._end()
