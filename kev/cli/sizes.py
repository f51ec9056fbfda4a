"""Sizes on the command line."""

import click

from kev.spec.sizes import parse_size


class Size(click.ParamType[int]):
    """A number of bytes: 512, 64K, 16M, 1G, 1T, in powers of 1024."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        size = value if isinstance(value, int) else parse_size(value)
        if size is None:
            self.fail(f"{value!r} is not a size: it must be a number of bytes, or one with K, M, G or T behind it", param, ctx)
        return size
