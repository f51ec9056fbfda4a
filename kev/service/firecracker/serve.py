"""One machine behind Firecracker's API, in a process of its own: see `serve_firecracker`."""

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Final

import trio
from attrs import frozen

from kev.errors import KevError
from kev.machine.ungrouped import ungrouped
from kev.service.firecracker.app import application
from kev.service.firecracker.config_file import configure
from kev.service.firecracker.faults import Fault
from kev.service.firecracker.microvm import Microvm
from kev.service.firecracker.terminal import ConsoleOutput, forward_input
from kev.service.home import Homes
from kev.service.in_process import in_process_homes
from kev.service.serving.http import HttpServer
from kev.service.serving.sockets import Listener, ListenError, listen
from kev.service.workers.homes import worker_homes
from kev.spec.errors import SpecError
from kev.work.stopping import heeded

DEFAULT_ID: Final = "anonymous-instance"
_LONGEST_ID: Final = 64


@frozen
class Settings:
    """What the process is started with."""

    socket: str | None
    """Where the API is; None for a machine without."""
    instance: str = DEFAULT_ID
    config_file: str | None = None
    """What the machine is configured by; it starts at once then."""
    in_process: bool = False
    """The machine lives in this process, instead of a confined one of its own."""

    def check(self) -> None:
        """SpecError if something cannot be."""
        if not 0 < len(self.instance) <= _LONGEST_ID or not all(letter == "-" or letter.isalnum() for letter in self.instance):
            raise SpecError(f"--id: {self.instance!r}: it must have 1 to {_LONGEST_ID} letters, digits and hyphens")
        if self.socket is None and self.config_file is None:
            raise SpecError("--no-api: nobody could start the machine: add --config-file FILE")


def serve_firecracker(settings: Settings, tell: Callable[[str], object]) -> int:
    """Serves the API until the machine ends, or a signal ends the process. The exit code is the guest's, or the signal's.

    The serial line is standard input and output. `tell` is given a line about the socket. KevError if that cannot be listened
    on, or if the machine cannot be configured.
    """
    settings.check()
    return trio.run(_serve, settings, tell)


async def _serve(settings: Settings, tell: Callable[[str], object]) -> int:
    output = ConsoleOutput(_standard_output())
    listener = None if settings.socket is None else _listen(settings.socket)
    try:
        with ungrouped():
            async with trio.open_nursery() as outer:
                outer.start_soon(output.run)
                try:
                    async with in_process_homes() if settings.in_process else worker_homes(ready=0) as homes:
                        return await _live(settings, homes, listener, output, tell)
                finally:
                    output.finish()
    finally:
        if listener is not None:
            listener.close()


async def _live(
    settings: Settings, homes: Homes, listener: Listener | None, output: ConsoleOutput, tell: Callable[[str], object]
) -> int:
    """The life of the machine, and what its process ends with."""
    with ungrouped():
        async with trio.open_nursery() as nursery:
            microvm = Microvm(homes, settings.instance, output.put)
            left = _Left(microvm)
            nursery.start_soon(left.watch_signals)
            nursery.start_soon(_forward_input, microvm, partial(left.leave, 0))
            nursery.start_soon(left.watch)
            if settings.config_file is not None:
                configure(microvm, settings.config_file)
                await microvm.start()
            if listener is None:
                await left.event.wait()
            else:
                tell(f"kev: listening on {listener.address}")
                await HttpServer(application(microvm), listener).serve(left.event)
            await microvm.end()
            nursery.cancel_scope.cancel()
    return left.exit_code(microvm)


class _Left:
    """Why the process ends."""

    def __init__(self, microvm: Microvm) -> None:
        self.event: Final = trio.Event()
        self._microvm: Final = microvm
        self._exit_code: int | None = None

    def leave(self, exit_code: int) -> None:
        if self._exit_code is None:
            self._exit_code = exit_code
        self.event.set()

    async def watch(self) -> None:
        """Until the machine has ended."""
        await self._microvm.ended.wait()
        self.event.set()

    async def watch_signals(self) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, *heeded((signal.SIGINT, signal.SIGHUP))) as signals:
            async for number in signals:
                self.leave(128 + number)

    def exit_code(self, microvm: Microvm) -> int:
        """KevError if the machine is lost."""
        if self._exit_code is not None:
            return self._exit_code
        if microvm.ending is None:
            raise KevError(microvm.lost)
        return microvm.ending.exit_code


async def _forward_input(microvm: Microvm, leave: Callable[[], None]) -> None:
    await microvm.started.wait()
    try:
        await forward_input(sys.stdin.fileno(), microvm.type, leave)
    except (KevError, OSError, ValueError, AttributeError):
        return  # the run has ended, or there is no standard input


def _standard_output() -> int:
    try:
        return sys.stdout.fileno()
    except (AttributeError, ValueError, OSError):
        return os.open(os.devnull, os.O_WRONLY)  # the process was started without


def _listen(path: str) -> Listener:
    """On a socket that only this user may write to. Fault if that cannot be."""
    try:
        return listen([f"unix:{path}"])[0]
    except ListenError as error:
        cause = error.__cause__
        reason = (cause.strerror or str(cause)) if isinstance(cause, OSError) else "it is no socket, or somebody listens there"
        raise Fault(f"Failed to open the API socket at: {path}. Check that it is not already used: {reason}") from error
