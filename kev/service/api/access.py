"""Who may ask: everybody over the unix socket; over TCP, whoever knows the token, at an address that is this service's.

A page in a browser says the token once, and has a cookie from then on, which the next service with that token knows, too. No other
page can use that cookie: it is `SameSite=Strict`, and requests with it that change something must say that a page of this service
makes them (`Origin`). No page becomes one of this service by a name that leads here (DNS rebinding): the name that is asked for
(`Host`) must be an address, `localhost`, or one that the service was given.
"""

import ipaddress
import re
import time
from collections.abc import Collection, Mapping
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Final, Protocol

from starlette.datastructures import Headers, QueryParams
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from kev.errors import KevError
from kev.service.api.problems import Unauthorized, problem_response
from kev.service.errors import Forbidden

COOKIE: Final = "kev-session"
_SESSION_SECONDS: Final = 12 * 3600
_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{1,5})?")
_SAFE: Final = ("GET", "HEAD", "OPTIONS")


class KnownToken(Protocol):
    def matches(self, said: str) -> bool: ...

    def session(self, end: int) -> str: ...

    def session_end(self, said: str) -> int: ...


class Trusted:
    """What comes over the unix socket."""

    def __init__(self, app: ASGIApp) -> None:
        self._app: Final = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "kev.trusted": True}, receive, send)


class Guarded:
    """What comes over TCP."""

    def __init__(self, app: ASGIApp, token: KnownToken, hosts: Collection[str], open_paths: Collection[str]) -> None:
        """`hosts`: names that lead here. `open_paths`: what everybody may GET."""
        self._app: Final = app
        self._token: Final = token
        self._hosts: Final = {host.lower() for host in hosts} | {"localhost"}
        self._open_paths: Final = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            answer = self._answer(scope)
        except KevError as error:
            answer = problem_response(error)
        if answer is None:
            await self._app({**scope, "kev.trusted": False}, receive, send)
        elif scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(answer)
        else:
            await answer(scope, receive, send)

    def _answer(self, scope: Scope) -> Response | None:
        """What is answered at once; None if the client may ask. Forbidden, Unauthorized."""
        headers = Headers(scope=scope)
        self._check_host(headers)
        method, path = scope.get("method", "GET"), scope["path"]
        if method == "GET" and path == "/" and (said := QueryParams(scope["query_string"]).get("token")) is not None:
            return self._log_in(said, RedirectResponse("/", HTTPStatus.SEE_OTHER))
        if method == "POST" and path == "/v1/session":
            return self._log_in(_bearer(headers) or "", Response(status_code=HTTPStatus.NO_CONTENT))
        if method in _SAFE and path in self._open_paths and scope["type"] == "http":
            return None
        said = _bearer(headers)
        if said is not None:
            if not self._token.matches(said):
                raise Unauthorized("authorization: the token is not this service's", field="authorization")
            return None
        self._check_session(headers)
        if scope["type"] == "websocket" or method not in _SAFE:
            self._check_origin(headers)
        return None

    def _check_host(self, headers: Mapping[str, str]) -> None:
        host = headers.get("host", "")
        name = _name_of(host)
        if name in self._hosts or _is_address(name):
            return
        problem = "the service is asked for by an address, or by a name that it was given"
        raise Forbidden(f"host: {host!r}: {problem}", field="host", value=host, limit=sorted(self._hosts))

    def _check_session(self, headers: Mapping[str, str]) -> None:
        session = _cookie(headers.get("cookie", ""))
        if session is None or self._token.session_end(session) < time.time():
            raise Unauthorized("authorization: is missing: Bearer and the token", field="authorization", limit="Bearer TOKEN")

    def _check_origin(self, headers: Mapping[str, str]) -> None:
        origin, host = headers.get("origin", ""), headers.get("host", "")
        if origin not in (f"http://{host}", f"https://{host}"):
            raise Forbidden(
                f"origin: {origin!r}: a page of another origin asks", field="origin", value=origin, limit=f"http://{host}"
            )

    def _log_in(self, said: str, response: Response) -> Response:
        if not self._token.matches(said):
            raise Unauthorized("token: it is not this service's", field="token")
        session = self._token.session(int(time.time()) + _SESSION_SECONDS)
        response.set_cookie(COOKIE, session, max_age=_SESSION_SECONDS, path="/", httponly=True, samesite="strict")
        response.headers["cache-control"] = "no-store"
        response.headers["referrer-policy"] = "no-referrer"
        return response


def is_host_name(text: str) -> bool:
    """Whether a client may ask for it (RFC 9110, section 7.2); an address may always be asked for."""
    return _name_of(text) == text.lower() != ""


def _bearer(headers: Mapping[str, str]) -> str | None:
    """The token that is said (RFC 6750, section 2.1)."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _cookie(header: str) -> str | None:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return None
    return None if found is None else found.value


def _name_of(host: str) -> str:
    """Without its port; empty if it is neither a name nor an address (RFC 9110, section 7.2)."""
    match = _HOST.fullmatch(host.lower())
    return "" if match is None else match[1] or match[2]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
