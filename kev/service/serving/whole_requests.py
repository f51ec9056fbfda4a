"""Answers that do not overtake their requests."""

from collections.abc import Iterable
from typing import Final

import trio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_MOST: Final = 1 << 20
"""Bytes that are read of a request that is answered already."""
_SECONDS: Final = 1


class WholeRequests:
    """An application that may answer before it has read a request.

    The server ends a connection on which an answer is complete before its request is: a client that does not know sends its next
    request into nothing. So the rest of a short request is read first, and the client of a long one is told (RFC 9112,
    section 9.6).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app: Final = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Request(receive)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and not request.is_whole:
                with trio.move_on_after(_SECONDS):
                    await request.read_rest()
                if not request.is_whole and scope["http_version"] in ("1.0", "1.1"):
                    message = {**message, "headers": _closing(message.get("headers", ()))}
            await send(message)

        await self._app(scope, request.receive, sending)


class _Request:
    """What has been received of one."""

    def __init__(self, receive: Receive) -> None:
        self._receive: Final = receive
        self.is_whole = False

    async def receive(self) -> Message:
        message = await self._receive()
        self.is_whole = self.is_whole or message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def read_rest(self) -> None:
        """Returns when it is whole, or too long for that."""
        size = 0
        while not self.is_whole and size <= _MOST:
            size += len((await self.receive()).get("body", b""))


def _closing(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [*((name, value) for name, value in headers if name.lower() != b"connection"), (b"connection", b"close")]
