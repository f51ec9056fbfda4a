"""Times on the command line."""

import click

from kev.spec.durations import parse_duration


class Duration(click.ParamType[float]):
    """A number of seconds, as a person writes it: 90, 90s, 10m, 1.5h, 500ms."""

    name = "time"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if not isinstance(value, str):
            return value
        seconds = parse_duration(value)
        if seconds is None or not 0 < seconds < float("inf"):
            self.fail(f"{value!r} is not a time: it must be a number of seconds, or one with ms, s, m or h behind it", param, ctx)
        return seconds
