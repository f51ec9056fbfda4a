"""What a client can ask for: one operation of the table, with all that is published and checked of it."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from starlette.responses import Response

from kev.observe.output import json_text
from kev.service.api.call import Body, Call, Parameter
from kev.service.api.kinds import Schema

JSON: Final = "application/json"
BYTES: Final = "application/octet-stream"


class Answer(NamedTuple):
    """What comes back if all is well."""

    description: str
    schema: Schema | None = None
    """Of JSON, or of what `media_type` says; None if there is no body."""
    media_type: str = JSON
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = {}
    """Their descriptions by name."""


class Operation(NamedTuple):
    """A method of a path."""

    name: str
    method: str
    path: str
    summary: str
    handler: Callable[[Call], Awaitable[Response]]
    answers: tuple[Answer, ...]
    problems: tuple[HTTPStatus, ...] = ()
    """Besides those that every operation with its parameters and body can have."""
    query: tuple[Parameter, ...] = ()
    body: Body | None = None
    needs_token: bool = True
    tag: str = "machines"


def json_response(value: Any, status: HTTPStatus = HTTPStatus.OK, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(json_text(value, compact=True), status, {"cache-control": "no-store", **named}, JSON)


def bytes_response(data: bytes, media_type: str = BYTES, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(data, headers={"cache-control": "no-store", **named}, media_type=media_type)


def no_content() -> Response:
    return Response(status_code=HTTPStatus.NO_CONTENT)
