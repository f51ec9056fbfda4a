"""What is around all requests: they are counted, timed, logged, and not more than may be."""

import time
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from kev import log
from kev.service.api.problems import TooMany, problem_response
from kev.service.api.service import Service

_OPERATION: Final = "kev.operation"
_STREAMS: Final = ("listen", "stream_console", "read_console", "run")
"""How long they take says nothing."""
_READING: Final = ("GET", "HEAD")
_FAILED: Final = 400


def note_operation(scope: Scope, name: str) -> None:
    """The request that `scope` belongs to is for this operation."""
    scope[_OPERATION]["name"] = name


class Watched:
    """An application whose requests are watched."""

    def __init__(self, app: ASGIApp, service: Service, listener: str) -> None:
        """`listener`: the address that requests come to."""
        self._app: Final = app
        self._service: Final = service
        self._listener: Final = listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        began, operation = time.perf_counter(), {"name": ""}
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        self._service.requests += 1
        try:
            await self._serve({**scope, _OPERATION: operation}, receive, noting)
        finally:
            self._service.requests -= 1
            self._note(scope, operation["name"], status, time.perf_counter() - began)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        most = self._service.registry.limits.requests
        if self._service.requests <= most:
            await self._app(scope, receive, send)
            return
        refusal = problem_response(
            TooMany(f"requests: {most} are being answered, which is all there may be", field="requests", limit=most)
        )
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(refusal)
        else:
            await refusal(scope, receive, send)

    def _note(self, scope: Scope, operation: str, status: int, seconds: float) -> None:
        if operation not in _STREAMS:
            self._service.metrics.answered(operation or "none", int(status), seconds)
        client: Any = scope.get("client")
        # Pages and scripts poll: what changes nothing is for whoever looks for a fault.
        level = "debug" if scope.get("method") in _READING and status < _FAILED else "info"
        # The query may hold a token.
        log.emit(
            level,
            "request",
            method=scope.get("method", "WEBSOCKET"),
            path=scope["path"],
            operation=operation,
            status=int(status),
            ms=round(seconds * 1e3, 2),
            client=client[0] if client else self._listener,
        )
