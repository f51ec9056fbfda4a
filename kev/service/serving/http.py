"""The HTTP server: Hypercorn, at a socket that listens already."""

import os
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.logging import Logger
from hypercorn.trio import serve
from starlette.types import ASGIApp

from kev import log
from kev.errors import one_line
from kev.service.serving.sockets import Listener

_IDLE_SECONDS = 15
_GRACE_SECONDS = 2


class _Log(Logger):
    """What the server says goes where the service's events go."""

    def __init__(self, config: Config) -> None:
        config.errorlog = config.accesslog = None
        super().__init__(config)

    async def exception(self, message: str, *args: Any, **kwargs: Any) -> None:
        import traceback

        log.warning("fault", error=one_line(message % args if args else message), where=traceback.format_exc(limit=-3))

    async def error(self, message: str, *args: Any, **kwargs: Any) -> None:
        log.warning("server", error=one_line(message % args if args else message))


def _config(listener: Listener) -> Config:
    config = Config()
    # The server closes the descriptor that it is given.
    config.bind = [f"fd://{os.dup(listener.socket.fileno())}"]
    config.logger_class = _Log
    config.include_server_header = False
    config.keep_alive_timeout = _IDLE_SECONDS
    config.graceful_timeout = _GRACE_SECONDS
    config.websocket_max_message_size = 64 << 10
    config.websocket_ping_interval = 30
    config.backlog = 256
    return config


async def serve_http(
    app: ASGIApp,
    listener: Listener,
    until: Callable[[], Awaitable[None]],
    *,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until `until` returns."""
    await serve(app, _config(listener), shutdown_trigger=until, task_status=task_status, mode="asgi")  # type: ignore[arg-type]
