"""Operations that give a browser the page, and what it is made of."""

from functools import cache
from http import HTTPStatus
from typing import Final

from starlette.responses import Response

from kev.service.api.call import Call
from kev.service.api.operation import Answer, Operation
from kev.service.errors import NotThere
from kev.service.web.files import web_files

_INDEX: Final = "index.html"
_FOLDER: Final = "/page/"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""What the page may do (Content Security Policy Level 3): run its own scripts and talk to its service."""
_HEADERS: Final = {
    "cache-control": "no-cache",  # it is kept, and asked for again with its ETag
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_files: Final = cache(web_files)


def web_paths() -> list[str]:
    """Where the page and its files are."""
    return ["/", *(_FOLDER + name for name in _files())]


async def show_page(call: Call) -> Response:
    return _file(call, _INDEX)


async def show_page_file(call: Call) -> Response:
    return _file(call, call.path["file"])


def _file(call: Call, name: str) -> Response:
    file = _files().get(name)
    if file is None:
        raise NotThere(f"file: {name!r}: the page has none of this name", field="file", value=name)
    headers = {**_HEADERS, "etag": file.etag}
    if _is_current(call.request.headers.get("if-none-match", ""), file.etag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(file.data, headers=headers, media_type=file.media_type)


def _is_current(known: str, etag: str) -> bool:
    """RFC 9110, section 13.1.2: validators are compared weakly."""
    return known.strip() == "*" or etag in (item.strip().removeprefix("W/") for item in known.split(","))


_TEXT: Final = {"type": "string"}
OPERATIONS: Final = (
    Operation(
        "show_page",
        "GET",
        "/",
        "The page, for a browser.",
        show_page,
        (Answer("A document.", _TEXT, "text/html"), Answer("The client has it.", status=HTTPStatus.NOT_MODIFIED)),
        needs_token=False,
        tag="page",
    ),
    Operation(
        "show_page_file",
        "GET",
        _FOLDER + "{file}",
        "A script, a style or a picture of the page.",
        show_page_file,
        (
            Answer("A file.", _TEXT, "text/javascript"),
            Answer("The client has it.", status=HTTPStatus.NOT_MODIFIED),
        ),
        needs_token=False,
        tag="page",
    ),
)
