"""Files that commands write: whole, or not at all."""

import json
import os
from pathlib import Path
from typing import Any

from kev.errors import KevError


class OutputError(KevError):
    """A file cannot be written where the command line says."""


def check_writable(file: str | Path) -> None:
    """OutputError if `file` cannot be written: better before a long run than after it."""
    path = Path(file)
    folder = path.parent
    if not folder.is_dir():
        raise OutputError(f"{path}: there is no folder {folder}")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise OutputError(f"{path}: no permission to write")


def write_json(file: str | Path, value: Any, *, compact: bool = False) -> None:
    """Writes `value` as `write_text` does, for a person to read or, if it is long, `compact`."""
    text = json.dumps(value, separators=(",", ":")) if compact else json.dumps(value, indent=2)
    write_text(file, text + "\n")


def write_text(file: str | Path, text: str) -> None:
    """Writes a file beside `file` and renames it, so that nobody sees half of it."""
    path = Path(file)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
