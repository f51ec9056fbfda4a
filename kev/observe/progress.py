"""How often a command says how far it is where that is not seen on a terminal, but read by a program."""

import os
from typing import Final

PROGRESS_SECONDS: Final = "KEV_PROGRESS_SECONDS"
"""The environment variable that says it."""


def progress_seconds() -> float | None:
    """None if nobody has said it."""
    try:
        return float(os.environ[PROGRESS_SECONDS])
    except (KeyError, ValueError):
        return None
