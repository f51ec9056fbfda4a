"""What every worker needs, done once before any is forked."""

import socket
from typing import Final

import trio

import kev.machine.api
from kev.service.workers.calls import Calls
from kev.service.workers.channel import Channel
from kev.service.workers.confinement import Confinement
from kev.service.workers.confinement.machine import prepare
from kev.service.workers.framing import FrameKind
from kev.service.workers.stream import Stream
from kev.service.workers.worker import Worker
from kev.spec.machine_spec import MachineSpec

_GUEST: Final = "gKeOS"
"""A guest that comes with kev, and touches most of what guests touch."""


def warm_up() -> None:
    """Plays the whole life of a worker, so that all is imported, and interpreter and emulated CPU have gone all the ways once.

    Leaves no thread behind.
    """
    prepare()
    trio.run(_play)
    kev.machine.api.rest()


async def _play() -> None:
    ours, theirs = socket.socketpair()
    stream = Stream(ours)
    with theirs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Worker(Channel(theirs)).live)
            calls, ended = Calls(stream), trio.Event()
            nursery.start_soon(_listen, stream, calls, ended)
            unconfined = [False] * len(Confinement._fields)
            await calls.call("open", {"spec": MachineSpec(_GUEST).to_json(), "confinement": unconfined})
            await calls.call("start", {})
            await ended.wait()
            for what in ("figures", "report", "pages", "registers", "screenshot"):
                await calls.call(what, {})
            await calls.call("close", {"stays": False})
            nursery.cancel_scope.cancel()
    stream.close()


async def _listen(stream: Stream, calls: Calls, ended: trio.Event) -> None:
    while True:
        for frame in await stream.read():
            if frame.kind is FrameKind.STATUS and b"ended" in frame.contents:
                ended.set()
            elif frame.kind not in (FrameKind.STATUS, FrameKind.OUTPUT):
                calls.take(frame)
