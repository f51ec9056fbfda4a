"""How slow the source of a guest's pages is made, as text: `LATENCY[,RATE][,jitter=TIME][,seed=N]`."""

import re
from typing import Any, Final

from kev.pager.slow_source import SourceDelay
from kev.spec.errors import SpecError, refusal, shown

_PER_SECOND: Final = {"us": 1e6, "ms": 1e3, "s": 1.0}
_BYTES: Final = {
    "B/s": 1.0, "kB/s": 1e3, "MB/s": 1e6, "GB/s": 1e9, "KiB/s": 2.0**10, "MiB/s": 2.0**20, "GiB/s": 2.0**30,
}  # fmt: skip
_QUANTITY: Final = re.compile(r"(\d+(?:\.\d+)?(?:e[-+]?\d+)?)([A-Za-z/]+)", re.ASCII)
_LONGEST: Final = 1e6  # seconds


def parse_source_latency(text: str, label: str = "source_latency") -> SourceDelay:
    """Such as `2ms,100MB/s,jitter=0.5ms,seed=7`. SpecError."""
    first, *rest = text.split(",")
    latency = _seconds(label, text, first)
    rate: float | None = None
    jitter, seed = 0.0, 0
    for part in rest:
        name, equals, value = part.partition("=")
        if not equals:
            rate = _bytes_per_second(label, text, part)
        elif name == "jitter":
            jitter = _seconds(label, text, value)
        elif name == "seed" and value.isascii() and value.isdigit() and len(value) < 1000:
            seed = int(value)
        else:
            raise _error(label, text, part, "neither a rate, nor jitter=TIME, nor seed=N")
    return SourceDelay(latency, rate, jitter, seed)


def delay_text(delay: Any, label: str = "source_latency") -> str:
    """The text that stands for a SourceDelay. SpecError if `delay` is none, or one that cannot be."""
    if not isinstance(delay, SourceDelay):
        raise refusal(label, delay, "it must be a text such as 2ms,100MB/s,jitter=1ms,seed=7")
    parts = [f"{delay.latency!r}s"]
    if delay.bytes_per_second is not None:
        parts.append(f"{float(delay.bytes_per_second)!r}B/s")
    if delay.jitter:
        parts.append(f"jitter={delay.jitter!r}s")
    if delay.seed:
        parts.append(f"seed={delay.seed}")
    text = ",".join(parts)
    parse_source_latency(text, label)
    return text


def _seconds(label: str, text: str, part: str) -> float:
    number, unit = _quantity(label, text, part, _PER_SECOND)
    if number / unit > _LONGEST:
        raise _error(label, text, part, f"longer than {_LONGEST:,.0f} s")
    return number / unit


def _bytes_per_second(label: str, text: str, part: str) -> float:
    number, unit = _quantity(label, text, part, _BYTES)
    if not number:
        raise _error(label, text, part, "not a rate: nothing would ever arrive")
    return number * unit


def _quantity(label: str, text: str, part: str, units: dict[str, float]) -> tuple[float, float]:
    """The number and what its unit stands for."""
    match = _QUANTITY.fullmatch(part)
    if match is None or match[2] not in units:
        raise _error(label, text, part, f"not a number with {', '.join(units)} behind it")
    return float(match[1]), units[match[2]]


def _error(label: str, text: str, part: str, problem: str) -> SpecError:
    return refusal(label, text, f"{shown(part)} is {problem}; it may be 2ms,100MB/s,jitter=1ms,seed=7")
