"""Addresses on the command line: decimal, or hexadecimal with 0x."""

import click


def parse_address(text: str) -> int | None:
    """None if `text` is no address."""
    try:
        return int(text, 16 if text.lower().startswith("0x") else 10)
    except ValueError:
        return None


class Address(click.ParamType[int]):
    """An address as an argument."""

    name = "address"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        address = value if isinstance(value, int) else parse_address(value)
        if address is None:
            self.fail(f"{value!r} is no address: it must be a number, hexadecimal with 0x", param, ctx)
        return address
