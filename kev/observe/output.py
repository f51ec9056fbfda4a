"""Files that are written about runs: whole, or not at all."""

import os
from typing import Any

from kev.errors import KevError


class OutputError(KevError):
    """A file cannot be written where it is wanted."""


def check_writable(file: str | os.PathLike[str]) -> None:
    """OutputError if `file` cannot be written: better before a long run than after it."""
    name = os.fspath(file)
    if name == "-":
        raise OutputError("-: standard output is the guest's; name a file, or ./- for one of that name")
    path = os.path.realpath(name)
    folder = os.path.dirname(path)
    try:
        os.lstat(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise OutputError(f"{name}: cannot be written: {error.strerror if isinstance(error, OSError) else error}") from error
    if os.path.isdir(path):
        raise OutputError(f"{name}: is a folder")
    if not os.path.isdir(folder):
        raise OutputError(f"{name}: there is no folder {folder}")
    exists = os.path.exists(path)
    # A regular file is replaced by a new one: for that, its folder is written to.
    places = ([path] if exists else []) + ([folder] if not exists or os.path.isfile(path) else [])
    if not all(os.access(place, os.W_OK) for place in places):
        raise OutputError(f"{name}: no permission to write")


def write_json(file: str | os.PathLike[str], value: Any, *, compact: bool = False) -> None:
    """Writes `value` as `write_text` does, for a person to read or, if it is long, `compact`."""
    write_text(file, json_text(value, compact=compact))


def json_text(value: Any, *, compact: bool = False) -> str:
    """JSON for a person to read or, if it is long, `compact`."""
    import json

    return (json.dumps(value, separators=(",", ":")) if compact else json.dumps(value, indent=2)) + "\n"


def write_text(file: str | os.PathLike[str], text: str) -> None:
    """Writes `text` as `write_bytes` does."""
    write_bytes(file, text.encode("utf-8"))


def write_bytes(file: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file beside `file` and renames it, so that nobody sees half of it.

    What a symbolic link leads to is replaced, and not the link; a device or a FIFO is written to.
    """
    path = os.path.realpath(file)
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            with open(path, "wb") as device:
                device.write(data)
        else:
            _replace(path, data)
    except OSError as error:
        raise OutputError(f"{os.fspath(file)}: cannot be written: {error.strerror}") from error


def _replace(path: str, data: bytes) -> None:
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as draft:
            draft.write(data)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
