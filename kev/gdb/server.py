"""Serves a run to debuggers, one after the other, until it has ended."""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import trio

from kev.gdb.address import TcpAddress, UnixAddress
from kev.gdb.debuggee import Debuggee
from kev.gdb.errors import GdbError
from kev.gdb.player import Opener, Player
from kev.gdb.resumption import Resumption
from kev.gdb.session import Session
from kev.gdb.stops import StopReason
from kev.machine.beside import forward_input, watch_for_signals, watch_for_timeout
from kev.machine.ending import Ending
from kev.machine.ungrouped import ungrouped

if TYPE_CHECKING:
    from kev.machine.machine import Machine
    from kev.machine.run_report import RunReport


async def serve(
    opener: Opener,
    address: TcpAddress | UnixAddress,
    *,
    wait: bool,
    output: Callable[[bytes], object],
    listening: Callable[[str], object],
    timeout: float | None = None,
    input_descriptor: int | None = None,
    signals: Sequence[int] = (),
    at_end: "Callable[[Machine], object] | None" = None,
) -> "RunReport":
    """Runs a machine to its end, and lets debuggers in meanwhile.

    `opener` makes the machine. `wait`: it stands still until the first debugger lets it go on. `output` is given what the guest
    prints; `listening`, once, the address that debuggers connect to. `at_end` is given the machine
    before it is closed. The rest is as in `kev.machine.driving.drive`.
    GdbError if nobody can connect to `address`; other KevErrors for the machine.
    """
    async with listen(address) as listener, _receiving(signals) as received:
        player = Player(opener, output)
        listening(_connectable(listener, address))
        try:
            with ungrouped():
                await _run(player, listener, wait, timeout, input_descriptor, received)
            player.machine.note_end()
            if at_end is not None:
                at_end(player.machine)
            return player.machine.report()
        finally:
            player.close()


@asynccontextmanager
async def listen(address: TcpAddress | UnixAddress) -> AsyncIterator[trio.SocketListener]:
    """Waits for connections. GdbError if the address cannot be used."""
    unix = isinstance(address, UnixAddress)
    try:
        if isinstance(address, UnixAddress):
            found = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
            await found.bind(address.path)
            found.listen(1)
            listener = trio.SocketListener(found)
        else:
            listener = (await trio.open_tcp_listeners(address.port, host=address.host, backlog=1))[0]
    except OSError as error:
        raise GdbError(f"--gdb {address}: cannot be listened on: {error.strerror or error}") from error
    async with listener:
        try:
            yield listener
        finally:
            if unix:
                with suppress(OSError):
                    os.unlink(str(address))


@asynccontextmanager
async def _receiving(signals: Sequence[int]) -> AsyncIterator[AsyncIterator[int] | None]:
    """Those that come from now on; None if there are none to receive."""
    if not signals:
        yield None
        return
    with trio.open_signal_receiver(*signals) as received:
        yield received


def _connectable(listener: trio.SocketListener, address: TcpAddress | UnixAddress) -> str:
    """What to give gdb's `target remote`."""
    if isinstance(address, UnixAddress):
        return str(address)
    return str(TcpAddress(address.host, listener.socket.getsockname()[1]))


class _Reception:
    """The debugger that waits to be served: at most one. Others are turned away."""

    def __init__(self, debuggee: Debuggee) -> None:
        self._debuggee: Final = debuggee
        self._stream: trio.SocketStream | None = None
        self._served = False
        self._arrived = trio.Event()

    async def receive(self, listener: trio.SocketListener) -> None:
        while True:
            stream = await listener.accept()
            if self._served or self._stream is not None:
                await stream.aclose()
                continue
            self._stream = stream
            self._arrived.set()
            self._debuggee.interrupt()

    @property
    def is_waited_at(self) -> bool:
        """Somebody waits to be served."""
        return self._stream is not None

    async def wait(self) -> None:
        await self._arrived.wait()

    async def serve(self) -> None:
        """Serves the one who waits, if somebody does."""
        stream, self._stream, self._arrived = self._stream, None, trio.Event()
        if stream is None:
            return
        self._served = True
        try:
            async with stream:
                await Session(self._debuggee, stream).run()
        finally:
            self._served = False


async def _run(
    player: Player,
    listener: trio.SocketListener,
    wait: bool,
    timeout: float | None,
    input_descriptor: int | None,
    received: AsyncIterator[int] | None,
) -> None:
    debuggee = Debuggee(player)
    reception = _Reception(debuggee)
    async with trio.open_nursery() as nursery:

        def end(ending: Ending) -> None:
            player.end(ending)
            nursery.cancel_scope.cancel()

        if received is not None:
            nursery.start_soon(watch_for_signals, end, received)
        if timeout is not None:
            nursery.start_soon(watch_for_timeout, end, timeout)
        if input_descriptor is not None:
            nursery.start_soon(forward_input, input_descriptor, player, end, player.expect_input, received is not None)
        nursery.start_soon(reception.receive, listener)
        await player.begin()
        if wait:
            await reception.wait()
        await _alternate(debuggee, reception)
        nursery.cancel_scope.cancel()


async def _alternate(debuggee: Debuggee, reception: _Reception) -> None:
    """Serves debuggers, and lets the machine run between them, until the run has ended."""
    while True:
        await reception.serve()
        if debuggee.player.machine.ending is not None:
            return
        if reception.is_waited_at:
            continue
        stop = await debuggee.resume(Resumption())
        if stop.reason in (StopReason.DIED, StopReason.ENDED):
            return
