"""What every worker needs, done once before any is forked."""

import pkgutil
import socket
from importlib import import_module
from types import ModuleType
from typing import Final

import trio

import kev.abi
import kev.bios
import kev.boot
import kev.dev
import kev.engine
import kev.machine.api
import kev.page_tables
from kev.service.workers.calls import Calls, anything
from kev.service.workers.channel import Channel
from kev.service.workers.confinement import Confinement
from kev.service.workers.confinement.machine import prepare
from kev.service.workers.framing import FrameKind
from kev.service.workers.stream import Stream
from kev.service.workers.worker import Worker
from kev.spec.machine_spec import MachineSpec

_GUEST: Final = "gKeOS"
"""A guest that comes with kev, and touches most of what guests touch."""
_WHAT_OTHERS_TAKE: Final = (kev.abi, kev.bios, kev.boot, kev.dev, kev.engine, kev.page_tables)
"""Packages of which each machine imports what it needs: a worker that had to do so would take twice as long to make one."""


def warm_up() -> None:
    """Plays the whole life of a worker, so that all is imported, and interpreter and emulated CPU have gone all the ways once.

    Leaves no thread behind.
    """
    prepare()
    for package in _WHAT_OTHERS_TAKE:
        _import_all(package)
    trio.run(_play)
    kev.machine.api.rest()


def _import_all(package: ModuleType) -> None:
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        import_module(found.name)


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
                await calls.call(what, {}, anything)
            await calls.call("close", {"stays": True})
            arguments = {"spec": MachineSpec(_GUEST).to_json(), "confinement": unconfined, "passes": False}
            await calls.call("run", arguments, anything)
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
