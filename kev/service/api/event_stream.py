"""The operation that tells what happens, for as long as a client listens."""

from http import HTTPStatus
from typing import Final

import trio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kev.service.api.call import Call
from kev.service.api.events import Listener
from kev.service.api.operation import Answer, Operation
from kev.service.api.service import Service

_MEDIA_TYPE: Final = "text/event-stream"
_SIGN_OF_LIFE_SECONDS: Final = 15


class _EventStream(Response):
    """Sends until the client goes away, or the service ends."""

    media_type = _MEDIA_TYPE

    def __init__(self, service: Service) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._service: Final = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            with self._service.events.listening() as listener:
                self._service.tell_all(listener)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_watch, receive, nursery.cancel_scope)
                    nursery.start_soon(_send, listener, send)
                    await self._service.stopping.wait()
                    nursery.cancel_scope.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _watch(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        """The rest of the request."""
    scope.cancel()


async def _send(listener: Listener, send: Send) -> None:
    while True:
        # A comment, so that a client that is gone without a word is noticed, and a proxy keeps the connection.
        data = b": still there\n\n"
        with trio.move_on_after(_SIGN_OF_LIFE_SECONDS):
            data = b"".join(event.encode() for event in await listener.take())
        await send({"type": "http.response.body", "body": data, "more_body": True})


async def listen(call: Call) -> Response:
    return _EventStream(call.service)


OPERATIONS: Final = (
    Operation(
        "listen",
        "GET",
        "/v1/events",
        "What happens: `machine` with every machine that there is and then with every change of one, `removed` with its id,"
        " `rates` each second with what machines that run have done, `job` with every change of a job. Whoever reads slowly gets"
        " the latest.",
        listen,
        (Answer("Server-sent events.", {"type": "string"}, _MEDIA_TYPE),),
        tag="events",
    ),
)
