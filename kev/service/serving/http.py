"""The HTTP server: Hypercorn, at a socket that listens already."""

import os
import traceback
from typing import Any, Final

import trio
from hypercorn.config import Config
from hypercorn.logging import Logger
from hypercorn.trio import serve
from starlette.types import ASGIApp

from kev import log
from kev.errors import one_line
from kev.service.serving.sockets import Listener

_IDLE_SECONDS: Final = 15
_GRACE_SECONDS: Final = 2
_REST_SECONDS: Final = 0.1


class _Log(Logger):
    """What the server says goes where the service's events go."""

    def __init__(self, config: Config) -> None:
        config.errorlog = config.accesslog = None
        super().__init__(config)

    async def exception(self, message: str, *args: Any, **kwargs: Any) -> None:
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
    until: trio.Event,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until `until` is set. A fault of the server costs connections; machines, and clients that come later, are not hurt."""
    task_status.started()
    while not until.is_set():
        try:
            await serve(app, _config(listener), shutdown_trigger=until.wait, mode="asgi")  # type: ignore[arg-type]
        except Exception as error:
            log.warning("fault", error=one_line(repr(error)), where="".join(traceback.format_exception(error)[-3:]))
            await trio.sleep(_REST_SECONDS)
