"""What a worker answers is believed only if it can be: a guest may have taken it over."""

import json
import os
import socket
from typing import Any

import pytest
import trio

from kev.service.errors import MachineLost
from kev.service.page_cells import CellsWanted
from kev.service.workers.attendant import Attendant
from kev.service.workers.confinement import Confinement
from kev.service.workers.forking import WorkerProcess
from kev.service.workers.framing import FrameKind, pack
from kev.service.workers.home import WorkerHome
from kev.service.workers.stream import Stream
from kev.spec.machine_spec import MachineSpec
from tests.service.watcher import Watcher

COUNTS = {"pages_loaded": 1, "violations": 1, "exits": {"Hlt": 1}}
ENDING = {"kind": "exited", "exit_code": 0, "message": ""}
FIGURES = {**COUNTS, "load_times": {"counts": [0] * 13, "seconds": 0.0}}


class Impostor(WorkerProcess):
    """A task of this process, which answers every call with the same frame."""

    def __init__(self, stream: Stream) -> None:
        errors, self._end = os.pipe()
        super().__init__(stream, trio.lowlevel.FdStream(errors), None)  # type: ignore[arg-type]

    def kill(self) -> None:
        if not self.ended.is_set():
            os.close(self._end)
            self.note_end("was killed")


def impostors_home(ours: socket.socket, watcher: Watcher) -> WorkerHome:
    return WorkerHome(Attendant(Impostor(Stream(ours))), "echo", watcher, patience=30, stays=False, over=lambda _home: None)


async def answer(stream: Stream, value: object) -> None:
    while frames := await stream.read():
        for frame in frames:
            if frame.kind is FrameKind.CALL:
                kind = FrameKind.DATA if isinstance(value, bytes) else FrameKind.VALUE
                contents = value if isinstance(value, bytes) else json.dumps(value).encode()
                await stream.write(pack(kind, frame.number, contents))


async def asked(name: str, value: object, *arguments: Any) -> object:
    """What a home says if its worker answers so, or why it says nothing more."""
    ours, theirs = socket.socketpair()
    home = impostors_home(ours, Watcher())
    with theirs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(home.attendant.live)
            nursery.start_soon(answer, Stream(theirs), value)
            try:
                return await getattr(home, name)(*arguments)
            except MachineLost as error:
                return str(error)
            finally:
                nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("figures", FIGURES),
        ("report", {**COUNTS, "more": [{}]}),
        ("registers", [{"rip": (1 << 64) - 1}]),
        ("screenshot", b"PNG"),
        ("start", None),
    ],
)
async def test_what_can_be_true_is_believed(name: str, value: object) -> None:
    assert await asked(name, value) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("figures", {}),
        ("figures", {**FIGURES, "pages_loaded": -1}),
        ("figures", {**FIGURES, "exits": {"Hlt": "many"}}),
        ("figures", {**FIGURES, "load_times": {"counts": [0], "seconds": 0}}),
        ("figures", b"bytes"),
        ("report", []),
        ("report", {}),
        ("run_to_end", {"ending": None, "report": COUNTS}),
        ("run_to_end", {"ending": {**ENDING, "kind": "bored"}, "report": COUNTS}),
        ("run_to_end", {"ending": {**ENDING, "exit_code": 256}, "report": COUNTS}),
        ("run_to_end", {"ending": ENDING, "report": {**COUNTS, "exits": None}}),
        ("pages", 5),
        ("registers", {"rip": 0}),
        ("registers", [{"rip": 1 << 64}]),
        ("screenshot", "text"),
        ("start", {"surprise": 1}),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value, default=repr)[:40],
)
async def test_what_cannot_be_true_is_the_end_of_the_worker(name: str, value: object) -> None:
    assert "does not keep to the protocol" in str(await asked(name, value))


async def test_the_same_where_something_is_asked_for() -> None:
    assert "it is 7: it must be bytes" in str(await asked("read_memory", 7, 0, 4096))
    assert "it is 7: it must be an object" in str(await asked("page_cells", 7, CellsWanted(10, 0, None)))


@pytest.mark.parametrize(
    "value",
    [
        {"ending": ENDING, "report": COUNTS},
        {"ending": ENDING, "report": COUNTS, "figures": COUNTS},
        {"ending": None, "report": COUNTS, "figures": FIGURES},
        {"ending": ENDING, "report": COUNTS, "figures": FIGURES, "screenshot": "a picture"},
        [],
    ],
    ids=lambda value: json.dumps(value)[-40:],
)
async def test_a_run_that_cannot_have_been_is_lost_with_its_worker(value: object) -> None:
    ours, theirs = socket.socketpair()
    watcher = Watcher()
    home = impostors_home(ours, watcher)
    with theirs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(home.attendant.live)
            nursery.start_soon(answer, Stream(theirs), value)
            await home.run(MachineSpec("echo"), Confinement(*[False] * len(Confinement._fields)), passes=True)
            assert "does not keep to the protocol" in (await watcher.ends()).message
            nursery.cancel_scope.cancel()
