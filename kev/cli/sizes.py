"""Sizes on the command line."""

from typing import Final

import click

from kev.addressing import GIB, KIB, MIB, TIB

_UNITS: Final = {"": 1, "K": KIB, "M": MIB, "G": GIB, "T": TIB}


class Size(click.ParamType[int]):
    """A number of bytes: 512, 64K, 16M, 1G, 1T, in powers of 1024."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        digits = value.rstrip("KMGTkmgt")
        unit = value[len(digits) :].upper()
        if not (digits.isascii() and digits.isdigit()) or unit not in _UNITS:
            self.fail(f"{value!r} is not a size: it must be a number of bytes, or one with K, M, G or T behind it", param, ctx)
        return int(digits) * _UNITS[unit]
