"""The files of the page: those that are in this package, and no others."""

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Final

import attrs

_FOLDER: Final = "static"
_MEDIA_TYPES: Final = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""By the end of a name. What is called otherwise is none of the page's."""
_DIGITS: Final = 24


@attrs.frozen
class WebFile:
    """One file."""

    media_type: str
    data: bytes
    etag: str
    """A strong validator, in its quotes (RFC 9110, section 8.8.3)."""


def web_files() -> Mapping[str, WebFile]:
    """All files, by name."""
    found = {}
    for file in files(__package__).joinpath(_FOLDER).iterdir():
        media_type = _MEDIA_TYPES.get(file.name[file.name.rfind(".") :])
        if media_type is not None and not file.name.startswith("."):
            data = file.read_bytes()
            etag = f'"{hashlib.sha256(data).hexdigest()[:_DIGITS]}"'
            found[file.name] = WebFile(media_type, data, etag)
    return found
