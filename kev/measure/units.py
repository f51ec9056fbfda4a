"""Sizes and times as a person writes them."""

from typing import Final

_UNITS: Final = ((1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K"))


def size_text(size: int) -> str:
    """Bytes with the largest unit that divides them: 256M, 1T."""
    for unit, letter in _UNITS:
        if size >= unit and size % unit == 0:
            return f"{size // unit}{letter}"
    return str(size)


def latency_text(seconds: float) -> str:
    """Milliseconds: 1ms, 0.5ms."""
    return f"{seconds * 1e3:g}ms"
