"""`--source-latency`: how slow the source of a guest's pages is made."""

import re
from typing import Final

from kev.errors import KevError
from kev.pager.slow_source import SourceDelay

_PER_SECOND: Final = {"us": 1e6, "ms": 1e3, "s": 1.0}
_BYTES: Final = {
    "B/s": 1.0, "kB/s": 1e3, "MB/s": 1e6, "GB/s": 1e9, "KiB/s": 2.0**10, "MiB/s": 2.0**20, "GiB/s": 2.0**30,
}  # fmt: skip
_QUANTITY: Final = re.compile(r"(\d+(?:\.\d+)?)([A-Za-z/]+)", re.ASCII)


class SourceLatencyError(KevError):
    """What stands behind `--source-latency` cannot be understood."""


def parse_source_latency(text: str) -> SourceDelay:
    """`LATENCY[,RATE][,jitter=TIME][,seed=N]`, such as `2ms,100MB/s,jitter=0.5ms,seed=7`."""
    first, *rest = text.split(",")
    latency = _seconds(text, first)
    rate: float | None = None
    jitter, seed = 0.0, 0
    for part in rest:
        name, equals, value = part.partition("=")
        if not equals:
            rate = _bytes_per_second(text, part)
        elif name == "jitter":
            jitter = _seconds(text, value)
        elif name == "seed" and value.isascii() and value.isdigit():
            seed = int(value)
        else:
            raise _error(text, part, "neither a rate, nor jitter=TIME, nor seed=N")
    return SourceDelay(latency, rate, jitter, seed)


def _seconds(text: str, part: str) -> float:
    number, unit = _quantity(text, part, _PER_SECOND)
    return number / unit


def _bytes_per_second(text: str, part: str) -> float:
    number, unit = _quantity(text, part, _BYTES)
    if not number:
        raise _error(text, part, "not a rate: nothing would ever arrive")
    return number * unit


def _quantity(text: str, part: str, units: dict[str, float]) -> tuple[float, float]:
    """The number and what its unit stands for."""
    match = _QUANTITY.fullmatch(part)
    if match is None or match[2] not in units:
        raise _error(text, part, f"not a number with {', '.join(units)} behind it")
    return float(match[1]), units[match[2]]


def _error(text: str, part: str, problem: str) -> SourceLatencyError:
    return SourceLatencyError(f"--source-latency {text!r}: {part!r} is {problem}; it may be 2ms,100MB/s,jitter=1ms,seed=7")
