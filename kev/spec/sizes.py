"""Sizes as text: 512, 64K, 16M, 1G, 1T, in powers of 1024."""

from typing import Final

_UNITS: Final = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_MOST_DIGITS: Final = 20


def parse_size(text: str) -> int | None:
    """Bytes. A unit may be followed by B or iB, in letters of either case. None if `text` is no size."""
    digits = text.rstrip("KMGTIBkmgtib")
    unit = text[len(digits) :].upper().removesuffix("B").removesuffix("I")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > _MOST_DIGITS or unit not in _UNITS:
        return None
    return int(digits) << _UNITS[unit]


def size_text(size: int) -> str:
    """The shortest text for so many bytes."""
    for unit, shift in reversed(_UNITS.items()):
        if size and not size & (1 << shift) - 1:
            return f"{size >> shift}{unit}"
    return "0"
