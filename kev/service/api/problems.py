"""Errors as clients get them: problem details (RFC 9457)."""

from http import HTTPStatus
from typing import Any, Final

from starlette.responses import Response

from kev import log
from kev.errors import KevError, one_line
from kev.machine.errors import MachineError
from kev.observe.output import json_text
from kev.service.errors import (
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    LimitReached,
    MachineLost,
    NotThere,
    NoWorker,
    ServiceError,
    ShuttingDown,
    StorageFull,
)
from kev.service.machines.state_directory import StateError

MEDIA_TYPE: Final = "application/problem+json"
_LONGEST_VALUE: Final = 200


class BadRequest(ServiceError):
    """What came is no JSON, or no value of its parameter."""


class TooLarge(ServiceError):
    """There is more of a request than it may have."""


class WrongMediaType(ServiceError):
    """The body is said to be something else."""


class WrongCoding(WrongMediaType):
    """The body is encoded, such as compressed."""


class Unauthorized(ServiceError):
    """Whoever asks has not said the token."""


class NotAllowed(ServiceError):
    """The path has no such method."""


class TooSlow(ServiceError):
    """The rest of the request did not come in time."""


class TooMany(ServiceError):
    """More requests are being answered than may be."""


_STATUS: Final[tuple[tuple[type[KevError], HTTPStatus], ...]] = (
    (BadRequest, HTTPStatus.BAD_REQUEST),
    (Unauthorized, HTTPStatus.UNAUTHORIZED),
    (Forbidden, HTTPStatus.FORBIDDEN),
    (NotThere, HTTPStatus.NOT_FOUND),
    (NotAllowed, HTTPStatus.METHOD_NOT_ALLOWED),
    (TooSlow, HTTPStatus.REQUEST_TIMEOUT),
    (Conflict, HTTPStatus.CONFLICT),
    (Gone, HTTPStatus.GONE),
    (MachineLost, HTTPStatus.GONE),
    (TooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (WrongMediaType, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (LimitReached, HTTPStatus.TOO_MANY_REQUESTS),
    (ShuttingDown, HTTPStatus.SERVICE_UNAVAILABLE),
    (NoWorker, HTTPStatus.SERVICE_UNAVAILABLE),
    (TooMany, HTTPStatus.SERVICE_UNAVAILABLE),
    (StorageFull, HTTPStatus.INSUFFICIENT_STORAGE),
    (StateError, HTTPStatus.INTERNAL_SERVER_ERROR),
    (Invalid, HTTPStatus.UNPROCESSABLE_ENTITY),
    (MachineError, HTTPStatus.CONFLICT),
    (KevError, HTTPStatus.UNPROCESSABLE_ENTITY),
)
"""The first that an error is one of, counts."""

SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One line, which names the thing, its value and the limit."},
        "field": {"type": "string", "description": "What it is about, such as spec.memory."},
        "value": {"description": "What it was."},
        "limit": {"description": "What it may be."},
    },
    "required": ["type", "title", "status", "detail"],
}


def status_of(error: KevError) -> HTTPStatus:
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def problem(error: KevError) -> dict[str, Any]:
    """What a client is told about an error."""
    status = status_of(error)
    name = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in type(error).__name__).strip("-")
    told: dict[str, Any] = {"type": f"urn:kev:{name}", "title": status.phrase, "status": int(status), "detail": str(error)}
    if isinstance(error, ServiceError):
        told |= {"field": error.field} if error.field else {}
        told |= {} if error.value is None else {"value": _shown(error.value)}
        told |= {} if error.limit is None else {"limit": error.limit}
    return told


def problem_response(error: KevError) -> Response:
    headers = {"cache-control": "no-store"}
    if isinstance(error, LimitReached):
        headers["retry-after"] = str(error.retry_after)
    elif isinstance(error, TooMany | ShuttingDown | NoWorker):
        headers["retry-after"] = "1"
    elif isinstance(error, WrongCoding):
        headers["accept-encoding"] = "identity"  # RFC 9110, section 15.5.16
    elif isinstance(error, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    text = json_text(problem(error), compact=True)
    return Response(text, status_of(error), headers, MEDIA_TYPE)


def fault_response(error: Exception) -> Response:
    """Of what is no mistake of the client's: it is logged, and the client is told nothing of it."""
    import traceback

    log.warning("fault", error=one_line(repr(error)), where="".join(traceback.format_exception(error)[-2:]))
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    told = {
        "type": "urn:kev:fault",
        "title": status.phrase,
        "status": int(status),
        "detail": "the service is at fault; its log says more",
    }
    return Response(json_text(told, compact=True), status, {"cache-control": "no-store"}, MEDIA_TYPE)


def _shown(value: Any) -> Any:
    """A value as it was given, if it is short: texts, numbers, true and false."""
    if isinstance(value, bool | int | float) and len(repr(value)) <= _LONGEST_VALUE:
        return value
    if isinstance(value, str) and len(value) <= _LONGEST_VALUE:
        return value
    return f"<{type(value).__name__}>"
