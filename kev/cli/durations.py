"""Times on the command line."""

import re
from typing import Final

import click

_UNITS: Final = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|m|h|)")


class Duration(click.ParamType[float]):
    """A number of seconds, as a person writes it: 90, 90s, 10m, 1.5h, 500ms."""

    name = "time"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if not isinstance(value, str):
            return value
        match = _DURATION.fullmatch(value)
        seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
        if not 0 < seconds < float("inf"):
            self.fail(f"{value!r} is not a time: it must be a number of seconds, or one with ms, s, m or h behind it", param, ctx)
        return seconds
