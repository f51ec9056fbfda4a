"""The API as an ASGI application."""

import json
from contextlib import aclosing
from http import HTTPMethod, HTTPStatus
from typing import Any, Final

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kev.errors import KevError
from kev.service.firecracker.faults import Fault
from kev.service.firecracker.microvm import Microvm
from kev.service.firecracker.requests import carry_out

_LONGEST_BODY: Final = 51200
"""Bytes."""
_TOO_LARGE: Final = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
_HEADERS: Final = {"Server": "Firecracker API", "Connection": "keep-alive"}


def application(microvm: Microvm) -> Starlette:
    """Serves the API of one machine. Requests are carried out one after the other."""
    turn = trio.Lock()

    async def answer(request: Request) -> Response:
        try:
            body = await _body(request)
            async with turn:
                reply = await carry_out(microvm, request.method, request.url.path, body)
        except KevError as error:
            fault = error if isinstance(error, Fault) else Fault(f"Internal VMM error: {error}")
            microvm.log.write("Error", f"Received Error. Status code: {fault.status.value} {fault.status.phrase}. Message: {fault}")
            return _response(fault.status, {"fault_message": str(fault)})
        status = HTTPStatus.NO_CONTENT if reply.body is None else HTTPStatus.OK
        microvm.log.write("Info", f"{request.method} {request.url.path}: {status.value} {status.phrase}")
        return _response(status, reply.body, is_deprecated=reply.is_deprecated)

    # Of every method: what is none of the API's is answered by the API, too.
    return Starlette(routes=[Route("/{path:path}", answer, methods=[method.value for method in HTTPMethod])])


async def _body(request: Request) -> bytes:
    """Fault if it is too long."""
    body = bytearray()
    async with aclosing(request.stream()) as parts:
        async for part in parts:
            body += part
            if len(body) > _LONGEST_BODY:
                raise Fault(f"Request payload is larger than the limit of {_LONGEST_BODY} allowed by server.", _TOO_LARGE)
    return bytes(body)


def _response(status: HTTPStatus, body: Any, *, is_deprecated: bool = False) -> Response:
    headers = {**_HEADERS, "Deprecation": "true"} if is_deprecated else _HEADERS
    if body is None:
        return Response(status_code=status, headers=headers)
    return Response(json.dumps(body, separators=(",", ":")), status, headers, media_type="application/json")
