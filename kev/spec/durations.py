"""Times as text: 90, 90s, 10m, 1.5h, 500ms."""

import re
from typing import Final

_UNITS: Final = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h|)")


def parse_duration(text: str) -> float | None:
    """Seconds, which may be too many for a float to hold. None if `text` is no time."""
    match = _DURATION.fullmatch(text)
    return float(match[1]) * _UNITS[match[2]] if match else None
