"""One request, read and checked against what its operation takes."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import trio
from starlette.requests import HTTPConnection, Request
from starlette.types import Receive

from kev.errors import KevError
from kev.machine.ungrouped import ungrouped
from kev.service.api.kinds import Kind, Schema
from kev.service.api.problems import BadRequest, TooLarge, TooSlow, WrongCoding, WrongMediaType
from kev.service.errors import Invalid
from kev.user_json import Mismatch, parse_user_json

if TYPE_CHECKING:
    from kev.service.api.service import Service

T = TypeVar("T")
_BODY_SECONDS: Final = 30
_JSON: Final = "application/json"
_IDENTITY: Final = "identity"


class Parameter(NamedTuple):
    """A parameter of the path or the query."""

    name: str
    description: str
    schema: Schema
    parse: Callable[[str], Any] = str
    """Raises ValueError, saying what it must be."""
    default: Any = None
    many: bool = False
    required: bool = False


class Body(NamedTuple):
    """What a request carries."""

    most: int
    """Bytes."""
    kind: Kind | None = None
    """Of JSON; without it, the body is bytes."""
    may_be_empty: bool = False
    """An empty body stands for an object without members."""


class Call(NamedTuple):
    """A request whose parameters and body are what they have to be."""

    service: "Service"
    request: Request
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Any
    trusted: bool
    """It came over the unix socket."""


def read_query(request: HTTPConnection, parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    """Invalid, or BadRequest, naming the parameter."""
    known = {parameter.name: parameter for parameter in parameters}
    for name in request.query_params:
        if name not in known:
            problem = f"there are {', '.join(known)}" if known else "there are none"
            raise BadRequest(f"{name}: the query has no such parameter here: {problem}", field=name, limit=list(known))
    return {name: _value(request, parameter) for name, parameter in known.items()}


def _value(request: HTTPConnection, parameter: Parameter) -> Any:
    given = request.query_params.getlist(parameter.name)
    if parameter.many:
        return [_parsed(parameter, text) for text in given]
    if not given and parameter.required:
        raise BadRequest(f"{parameter.name}: is missing: {parameter.description}", field=parameter.name, limit="there")
    if not given:
        return parameter.default
    if len(given) > 1:
        raise BadRequest(f"{parameter.name}: is given {len(given)} times: it can be given once", field=parameter.name)
    return _parsed(parameter, given[0])


def _parsed(parameter: Parameter, text: str) -> Any:
    try:
        return parameter.parse(text)
    except ValueError as error:
        limit = str(error).removeprefix("it must be ")
        raise BadRequest(f"{parameter.name}: {text!r}: {error}", field=parameter.name, value=text, limit=limit) from None


async def read_body(request: Request, body: Body | None) -> Any:
    """BadRequest, TooLarge, WrongMediaType or Invalid."""
    data = await _read(request, 0 if body is None else body.most)
    if body is None:
        return None
    _check_coding(request)
    if body.kind is None:
        return data
    if not data and body.may_be_empty:
        data = b"{}"
    elif not data:
        raise BadRequest("body: is missing: it must be JSON", field="body", limit=_JSON)
    else:
        _check_media_type(request)
    return _parse(data, body.kind)


def _parse(data: bytes, kind: Kind) -> Any:
    try:
        return parse_user_json(data, "body", BadRequest, "what this request takes", kind.shape, typed=True)
    except BadRequest as error:
        mismatch = error.__cause__
        if not isinstance(mismatch, Mismatch):
            raise BadRequest(str(error), field="body", limit=_JSON) from None
        raise Invalid(
            f"body: {mismatch}", field=mismatch.where or "body", value=mismatch.value, limit=mismatch.what or None
        ) from None


def _check_media_type(request: Request) -> None:
    given = request.headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() != _JSON:
        raise WrongMediaType(f"content-type: {given!r}: the body must be {_JSON}", field="content-type", value=given, limit=_JSON)


def _check_coding(request: Request) -> None:
    """RFC 9110, section 8.4."""
    given = request.headers.get("content-encoding", _IDENTITY)
    if given.strip().lower() not in ("", _IDENTITY):
        raise WrongCoding(
            f"content-encoding: {given!r}: the body must not be encoded", field="content-encoding", value=given, limit=_IDENTITY
        )


async def _read(request: Request, most: int) -> bytes:
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or int(length[:20]) > most:
        raise _too_large(most)
    data = bytearray()
    with trio.move_on_after(_BODY_SECONDS):
        async for chunk in request.stream():
            data += chunk
            if len(data) > most:
                raise _too_large(most)
        return bytes(data)
    raise TooSlow(f"body: {len(data)} bytes have come within {_BODY_SECONDS} s, and no end", field="body", limit=_BODY_SECONDS)


def _too_large(most: int) -> KevError:
    problem = f"there may be {most:,} bytes of it" if most else "this request has none"
    return TooLarge(f"body: {problem}", field="body", limit=most)


async def unless_gone(receive: Receive, answer: Callable[[], Awaitable[T]]) -> T | None:
    """What `answer` comes to, or raises; None if the client goes away before that."""
    result: T | None = None

    async def watch(scope: trio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            """More of the request."""
        scope.cancel()

    with ungrouped():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, nursery.cancel_scope)
            result = await answer()
            nursery.cancel_scope.cancel()
    return result
