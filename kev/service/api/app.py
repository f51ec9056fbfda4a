"""The application: routes that come from the table of operations."""

from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from kev.errors import KevError
from kev.service.api import about, console, event_stream, images, jobs, machines, runs, snapshots, web
from kev.service.api.call import Call, read_body, read_query
from kev.service.api.console import stream_console
from kev.service.api.openapi import describe_api
from kev.service.api.operation import Answer, Operation, json_response
from kev.service.api.problems import NotAllowed, fault_response, problem_response
from kev.service.api.service import Service
from kev.service.api.watched import note_operation
from kev.service.errors import NotThere


async def describe(_call: Call) -> Response:
    return json_response(describe_api(OPERATIONS))


OPERATIONS: Final[tuple[Operation, ...]] = (
    *machines.OPERATIONS,
    *runs.OPERATIONS,
    *console.OPERATIONS,
    *snapshots.OPERATIONS,
    *jobs.OPERATIONS,
    *event_stream.OPERATIONS,
    *images.OPERATIONS,
    *about.OPERATIONS,
    *web.OPERATIONS,
    Operation(
        "describe_api",
        "GET",
        "/openapi.json",
        "This description.",
        describe,
        (Answer("An OpenAPI document.", {"type": "object"}),),
        tag="service",
    ),
)


def open_paths() -> list[str]:
    """What everybody may GET."""
    return [*(operation.path for operation in OPERATIONS if not operation.needs_token), *web.web_paths()]


def application(service: Service) -> ASGIApp:
    """Of operations that are already known to be allowed: see `kev.service.api.access`."""
    by_path: dict[str, dict[str, Operation]] = defaultdict(dict)
    for operation in OPERATIONS:
        by_path[operation.path][operation.method] = operation
    endpoints = {path: _Endpoint(service, operations) for path, operations in by_path.items()}
    routes: list[Any] = [Route(path, endpoint) for path, endpoint in endpoints.items()]
    routes.append(WebSocketRoute("/v1/machines/{machine}/console/stream", partial(_stream, service)))
    others = Starlette(routes=routes, exception_handlers={404: _not_found})
    # Where `/v1/machines/` led to would be told by the name of a proxy, and without its TLS.
    others.router.redirect_slashes = False
    return _Application({path: endpoint for path, endpoint in endpoints.items() if "{" not in path}, others)


class _Application:
    """Finds what is at a path."""

    def __init__(self, endpoints: Mapping[str, "_Endpoint"], others: ASGIApp) -> None:
        """`endpoints`: of paths without parameters, which need no search."""
        self._endpoints: Final = endpoints
        self._others: Final = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope["path"]) if scope["type"] == "http" else None
        if endpoint is None:
            await self._others(scope, receive, send)
        else:
            await endpoint({**scope, "path_params": {}}, receive, send)


class _Endpoint:
    """All methods of one path."""

    def __init__(self, service: Service, operations: dict[str, Operation]) -> None:
        self._service: Final = service
        self._operations: Final = operations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            response = await self._respond(request)
        except ClientDisconnect:
            return
        except KevError as error:
            response = problem_response(error)
        except Exception as error:
            response = fault_response(error)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        operation = self._operations.get(method)
        if operation is None:
            allowed = sorted(self._operations)
            problem = NotAllowed(f"{request.method}: this path has {', '.join(allowed)}", field="method", limit=allowed)
            response = problem_response(problem)
            response.headers["allow"] = ", ".join(allowed)
            return response
        note_operation(request.scope, operation.name)
        query = read_query(request, operation.query)
        body = await read_body(request, operation.body)
        return await operation.handler(
            Call(self._service, request, request.path_params, query, body, bool(request.scope.get("kev.trusted")))
        )


async def _stream(service: Service, websocket: WebSocket) -> None:
    note_operation(websocket.scope, "stream_console")
    try:
        machine = service.registry[websocket.path_params["machine"]]
        offset = read_query(websocket, (console.OFFSET,))["offset"]
    except KevError as error:
        await websocket.send_denial_response(problem_response(error))
        return
    await stream_console(service, websocket, machine, offset)


async def _not_found(request: Request, _error: Exception) -> Response:
    path = request.url.path
    return problem_response(NotThere(f"path: {path!r}: there is nothing at it", field="path", value=path))
