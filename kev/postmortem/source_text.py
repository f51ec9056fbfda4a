"""The text of source lines, where the files that an image was compiled from can be found."""

import os
from functools import cache
from typing import Final

from kev.postmortem.source_lines import SourceLine

_LARGEST: Final = 8 << 20
"""Bytes of a source file that is read."""


class SourceTexts:
    """Reads lines of source files. What is not found, or was changed after the image was made, has no text."""

    def __init__(self, image: str) -> None:
        """`image`: its name. If it is a file, relative paths are looked for in its folder, and in those above it, too."""
        self._made: Final = os.stat(image).st_mtime if os.path.isfile(image) else None
        folder = os.path.dirname(os.path.abspath(image)) if self._made is not None else ""
        self._folders: Final = ["", *_with_parents(folder)]

    def line(self, line: SourceLine | None) -> str | None:
        """What is in a line, without the blanks around it; None if that is not known."""
        if line is None or not line.path:
            return None
        for folder in self._folders:
            lines = _lines(os.path.join(folder, line.path), self._made)
            if lines is not None:
                return lines[line.line - 1].strip() or None if line.line <= len(lines) else None
        return None


def _with_parents(folder: str) -> list[str]:
    folders = []
    while folder and folder not in folders:
        folders.append(folder)
        folder = os.path.dirname(folder)
    return folders


@cache
def _lines(path: str, made: float | None) -> list[str] | None:
    """Of a file that is not younger than `made`, a time in seconds."""
    try:
        if not os.path.isfile(path) or (made is not None and os.stat(path).st_mtime > made):
            return None
        with open(path, "rb") as file:
            return file.read(_LARGEST).decode("utf-8", "replace").splitlines()
    except (OSError, ValueError):
        return None
