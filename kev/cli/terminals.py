"""What a terminal can do."""

import os
from typing import Final, TextIO

_DUMB: Final = "dumb"
_COLUMNS: Final = 80
"""Of a terminal that does not say."""


def has_cursor(stream: TextIO) -> bool:
    """Whether a line on it can be written over: it is a terminal, and TERM says that it is none of those that only print."""
    return stream.isatty() and os.environ.get("TERM") != _DUMB


def in_a_row(text: str, stream: TextIO) -> str:
    """As much of `text` as one row of a terminal has, which may be resized at any time; its last column stays free."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns or _COLUMNS
    except OSError:
        columns = _COLUMNS
    return text[: max(columns - 1, 1)]
