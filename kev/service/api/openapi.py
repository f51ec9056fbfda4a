"""The description of the API, made of the table of operations: OpenAPI 3.1."""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

from kev.service.api.call import Body, Parameter
from kev.service.api.kinds import Schema
from kev.service.api.operation import BYTES, JSON, Answer, Operation
from kev.service.api.problems import MEDIA_TYPE, SCHEMA
from kev.service.api.schemas import COMPONENTS
from kev.version import __version__

_PATH_PARAMETERS: Final = {
    "machine": "The id of a machine, or its name.",
    "snapshot": "The name of a snapshot.",
    "job": "The id of a job.",
    "file": "The name of a file.",
}
_ALWAYS: Final = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_WITH_BODY: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)


def describe_api(operations: Iterable[Operation]) -> dict[str, Any]:
    """The document."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "kev",
            "version": __version__,
            "description": "Machines of a lazy-paging hypervisor.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": {**COMPONENTS, "Problem": SCHEMA},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "Over TCP. The unix socket needs none."},
                "session": {"type": "apiKey", "in": "cookie", "name": "kev-session"},
            },
        },
    }


def _described(operation: Operation) -> dict[str, Any]:
    names = re.findall(r"\{(\w+)\}", operation.path)
    problems = {*_ALWAYS, *operation.problems}
    if names:
        problems.add(HTTPStatus.NOT_FOUND)
    if operation.body is not None:
        problems |= {*_WITH_BODY, *([HTTPStatus.UNPROCESSABLE_ENTITY] if operation.body.kind is not None else [])}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [*map(_path_parameter, names), *map(_query_parameter, operation.query)],
        "responses": {
            **{str(int(answer.status)): _answer(answer) for answer in operation.answers},
            **{str(int(status)): _problem(status) for status in sorted(problems)},
        },
    }
    if operation.body is not None:
        described["requestBody"] = _body(operation.body)
    if not operation.needs_token:
        described["security"] = []
    return described


def _path_parameter(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": _PATH_PARAMETERS[name],
        "schema": {"type": "string", "minLength": 1},
    }


def _query_parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.required,
        "description": parameter.description,
        "schema": parameter.schema,
    }


def _body(body: Body) -> dict[str, Any]:
    if body.kind is None:
        return {"required": True, "content": {BYTES: {"schema": {"type": "string", "format": "binary", "maxLength": body.most}}}}
    return {"required": not body.may_be_empty, "content": {JSON: {"schema": body.kind.schema}}}


def _answer(answer: Answer) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.description}
    if answer.schema is not None:
        described["content"] = {answer.media_type: {"schema": answer.schema}}
    if answer.headers:
        described["headers"] = {name: {"description": text, "schema": _STRING} for name, text in answer.headers.items()}
    return described


def _problem(status: HTTPStatus) -> dict[str, Any]:
    return {"description": status.phrase, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}


_STRING: Final[Schema] = {"type": "string"}
