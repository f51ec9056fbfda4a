"""Operations on consoles: read from an offset on, as one answer or as a stream that is typed to as well."""

import json
from typing import Final

import trio
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from kev.addressing import MIB
from kev.errors import KevError
from kev.service.api.call import Call, Parameter, unless_gone
from kev.service.api.machines import number_parameter, one_of
from kev.service.api.operation import BYTES, Answer, Operation, bytes_response
from kev.service.api.service import Service
from kev.service.machines.console import Console
from kev.service.machines.machine import ServedMachine

_LARGEST_OFFSET: Final = (1 << 53) - 1
_WAIT_SECONDS: Final = 30
_FRAME: Final = 64 << 10
_HEADERS: Final = {
    "Kev-Offset": "The offset of the first byte. Greater than what was asked for: what lies between is not kept any more.",
    "Kev-Next": "The offset behind the last byte.",
    "Kev-End": "true if the run has ended and nothing comes behind these bytes, else false.",
}


async def read_console(call: Call) -> Response:
    console = call.service.registry[call.path["machine"]].console
    offset = call.query["offset"]
    if call.query["follow"]:
        await unless_gone(call.request.receive, lambda: _until_news(console, offset, call.service.stopping))
    piece = console.read(offset, call.query["limit"])
    return bytes_response(
        piece.data,
        kev_offset=str(piece.offset),
        kev_next=str(piece.next),
        kev_end="true" if piece.is_last else "false",
    )


async def _until_news(console: Console, offset: int, stopping: trio.Event) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_after, stopping, nursery.cancel_scope)
        with trio.move_on_after(_WAIT_SECONDS):
            await console.wait(offset)
        nursery.cancel_scope.cancel()


async def _cancel_after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def stream_console(service: Service, websocket: WebSocket, machine: ServedMachine, offset: int) -> None:
    """Until the run has ended, or one of both sides goes away."""
    await websocket.accept()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_type, websocket, machine, nursery.cancel_scope)
            nursery.start_soon(_cancel_after, service.stopping, nursery.cancel_scope)
            await _print(websocket, machine.console, offset)
            await websocket.close(1000)
            nursery.cancel_scope.cancel()
            return
    except* (WebSocketDisconnect, OSError):
        """The client is gone."""
    if service.stopping.is_set():
        with trio.move_on_after(1):
            await websocket.close(1001)


async def _print(websocket: WebSocket, console: Console, offset: int) -> None:
    while True:
        piece = console.read(offset, _FRAME)
        if piece.offset != offset:
            lost = max(piece.offset - offset, 0)
            await websocket.send_text(json.dumps({"offset": piece.offset, "lost": lost}))
        if piece.data:
            await websocket.send_bytes(piece.data)
        offset = piece.next
        if piece.is_last:
            return
        await console.wait(offset)


async def _type(websocket: WebSocket, machine: ServedMachine, scope: trio.CancelScope) -> None:
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            scope.cancel()
            return
        data = message.get("bytes")
        if data is None:
            data = (message.get("text") or "").encode(errors="surrogateescape")
        try:
            await machine.send(data)
        except KevError as error:
            if not machine.is_over:
                await websocket.send_text(json.dumps({"problem": str(error)}))


def _flag(text: str) -> bool:
    return one_of("0", "1", "true", "false")(text) in ("1", "true")


OFFSET: Final = number_parameter("offset", "Of the first byte: how many were printed before it.", 0, _LARGEST_OFFSET, 0)
OPERATIONS: Final = (
    Operation(
        "read_console",
        "GET",
        "/v1/machines/{machine}/console",
        "What the guest has printed, from an offset on.",
        read_console,
        (Answer("The bytes.", {"type": "string", "format": "binary"}, BYTES, headers=_HEADERS),),
        (),
        (
            OFFSET,
            number_parameter("limit", "At most so many bytes.", 1, 16 * MIB, MIB),
            Parameter(
                "follow",
                f"Waits up to {_WAIT_SECONDS} s until there is something, or the run has ended.",
                {"type": "string", "enum": ["0", "1", "false", "true"], "default": "0"},
                _flag,
                False,
            ),
        ),
        tag="consoles",
    ),
)
