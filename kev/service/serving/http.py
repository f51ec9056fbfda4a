"""The HTTP server: Hypercorn's, at a socket that listens already."""

import sys
import traceback
from contextlib import suppress
from functools import partial
from typing import Any, Final

import trio
from hypercorn.config import Config
from hypercorn.logging import Logger
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
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
            await TCPServer(self._app, self._config, self._context, ConnectionState({}), stream)  # type: ignore[arg-type]
        except Exception as error:
            log.warning("a connection has failed", error=one_line(repr(error)))
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
        finally:
            self._streams.discard(stream)
            self._left.set()
