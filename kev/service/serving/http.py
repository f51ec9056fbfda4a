"""The HTTP server: Hypercorn's, at a socket that listens already."""

import math
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import trio
from hypercorn.config import Config
from hypercorn.events import Event, RawData
from hypercorn.logging import Logger
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.typing import Event as Waiting
from hypercorn.utils import wrap_app
from starlette.types import ASGIApp

from kev import log
from kev.errors import one_line
from kev.service.serving.sockets import Listener
from kev.service.serving.whole_requests import WholeRequests

_IDLE_SECONDS: Final = 15
_GRACE_SECONDS: Final = 2


class _Log(Logger):
    """What the server says goes where the service's events go."""

    def __init__(self, config: Config) -> None:
        config.errorlog = config.accesslog = None
        super().__init__(config)

    async def exception(self, message: str, *args: Any, **kwargs: Any) -> None:
        log.warning("fault", error=one_line(message % args if args else message), where=traceback.format_exc(limit=-3))

    async def error(self, message: str, *args: Any, **kwargs: Any) -> None:
        log.warning("server", error=one_line(message % args if args else message))


def _config() -> Config:
    config = Config()
    config.logger_class = _Log
    config.include_server_header = False
    config.keep_alive_timeout = _IDLE_SECONDS
    # A client that polls is no reason to end its connection.
    config.keep_alive_max_requests = sys.maxsize
    config.websocket_max_message_size = 64 << 10
    config.websocket_ping_interval = 30
    return config


class _IdleTime:
    """Ends a connection on which nothing has been asked for a while: by one task of it, not by one for each request."""

    def __init__(self, end: Callable[[], Awaitable[None]], terminated: Waiting) -> None:
        self._end: Final = end
        self._terminated: Final = terminated
        self._until = math.inf
        self._is_watched = False
        self._needed: Final = trio.CancelScope()

    async def restart(self, task_group: TaskGroup, _action: Callable[[], Awaitable[None]]) -> None:
        """It is idle from now on."""
        self._until = trio.current_time() + _IDLE_SECONDS
        if not self._is_watched:
            self._is_watched = True
            task_group.spawn(self._watch)

    async def stop(self) -> None:
        """It is not idle."""
        self._until = math.inf

    def cancel(self) -> None:
        """The connection ends by itself."""
        self._until = math.inf
        self._needed.cancel()

    async def _watch(self) -> None:
        with self._needed:
            while trio.current_time() < self._until and not self._terminated.is_set():
                with trio.move_on_at(min(self._until, trio.current_time() + _IDLE_SECONDS)):
                    await self._terminated.wait()
        # One that is not idle when the service ends, is ended behind its answer.
        if self._until < math.inf:
            with trio.CancelScope(shield=True):
                await self._end()


class _Connection(TCPServer):
    """One client."""

    def __init__(self, app: Any, config: Config, context: WorkerContext, stream: trio.SocketStream) -> None:
        super().__init__(app, config, context, ConnectionState({}), stream)  # type: ignore[arg-type]
        self._idle_time: Final = _IdleTime(self._initiate_server_close, context.terminated)
        self.idle_task = self._idle_time  # type: ignore[assignment]
        self._descriptor: Final = stream.socket.fileno()

    async def _read_data(self) -> None:
        try:
            await super()._read_data()
        finally:
            self._idle_time.cancel()

    async def protocol_send(self, event: Event) -> None:
        """Mostly the socket takes all at once."""
        if isinstance(event, RawData) and not self.send_lock.locked():
            rest = self._write_at_once(event.data)
            if not rest:
                return
            event = RawData(rest)
        await super().protocol_send(event)

    def _write_at_once(self, data: bytes) -> bytes:
        """What is left of it."""
        if not data or self._descriptor != self.stream.socket.fileno():
            return data
        try:
            return data[os.write(self._descriptor, data) :]
        except OSError:
            return data


class HttpServer:
    """Serves an application at one socket.

    What `hypercorn.trio.serve` does, but for two things: a connection that fails, whatever the reason, hurts no other one; and
    connections of clients that read nothing are ended when the service is, instead of being waited for.
    """

    def __init__(self, app: ASGIApp, listener: Listener) -> None:
        self._app: Final = wrap_app(WholeRequests(app), 0, "asgi")  # type: ignore[arg-type]
        self._listener: Final = listener
        self._config: Final = _config()
        self._context: Final = WorkerContext(None)
        self._streams: Final[set[trio.SocketStream]] = set()
        self._left = trio.Event()
        """A connection has ended."""

    async def serve(self, until: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until `until` is set, and connections a little longer."""
        listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(self._listener.socket.dup()))]
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                serve = partial(trio.serve_listeners, self._serve_connection, listeners, handler_nursery=connections)
                await accepting.start(serve)
                task_status.started()
                await until.wait()
                accepting.cancel_scope.cancel()
            await self._context.terminated.set()
            with trio.move_on_after(_GRACE_SECONDS):
                await self._until_left()
            for stream in self._streams:
                with suppress(OSError):
                    stream.socket.shutdown(trio.socket.SHUT_RDWR)
            # What still waits, such as for the time of the next ping, waits for nobody.
            connections.cancel_scope.cancel()

    async def _until_left(self) -> None:
        """Returns when there are no connections."""
        while self._streams:
            self._left = trio.Event()
            await self._left.wait()

    async def _serve_connection(self, stream: trio.SocketStream) -> None:
        self._streams.add(stream)
        try:
            await _Connection(self._app, self._config, self._context, stream)
        except Exception as error:
            log.warning("a connection has failed", error=one_line(repr(error)))
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
        finally:
            self._streams.discard(stream)
            self._left.set()
