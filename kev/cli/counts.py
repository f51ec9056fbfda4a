"""How many there are to be of something, on the command line."""

from typing import Any

import click


class Count(click.IntRange):
    """A whole number within limits, which whoever gives another one is told."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            self.fail(f"{value!r}: it must be a whole number, {self._limits}", param, ctx)

    @property
    def _limits(self) -> str:
        if self.min is not None and self.max is not None:
            return f"{self.min} to {self.max:,}"
        return f"{self.min} or more" if self.min is not None else f"at most {self.max}"
