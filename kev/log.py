"""Events of a run, for whoever asked to see them.

structlog takes longer to import than a small guest takes to boot, so it is imported when `configure` is called, and not at all in
a run that nobody asked to log.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from kev.errors import one_line

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_logger: Any = None
_level = ""

LEVELS: Final = ("debug", "info", "warning", "error")


def configure(level: str, *, as_json: bool = False) -> None:
    """From now on, events of `level` (one of LEVELS) and above are written to stderr, a line each: for a person, or as JSON."""
    global _logger, _level
    import logging
    import sys

    import structlog

    to_person = [_in_one_line, structlog.dev.ConsoleRenderer(colors=_wants_colors())]
    renderers = [structlog.processors.JSONRenderer()] if as_json else to_person
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # Bound once: a logger that is not would be made anew for every event.
    _logger = structlog.get_logger("kev").bind()
    _level = level


def _in_one_line(_logger: object, _method: str, event: "MutableMapping[str, Any]") -> "MutableMapping[str, Any]":
    """Names and addresses in an event may be anybody's, with control characters and line ends in them."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = one_line(value)
    return event


def level() -> str:
    """The level above which events are written; empty if none are."""
    return _level


def redirect(least: str, sink: Callable[[str, str, dict[str, object]], object]) -> None:
    """From now on, events of level `least` and above are given to `sink`: level, event, fields. None are if `least` is empty."""
    global _logger, _level
    _logger = _Redirected(sink, LEVELS.index(least)) if least else None
    _level = least


def emit(level: str, event: str, **fields: object) -> None:
    """An event of a level that is only known when it comes: one of LEVELS."""
    if _logger is not None:
        getattr(_logger, level)(event, **fields)


class _Redirected:
    """A logger as structlog's, as far as it is used here."""

    def __init__(self, sink: Callable[[str, str, dict[str, object]], object], least: int) -> None:
        self._sink: Final = sink
        self._least: Final = least

    def debug(self, event: str, **fields: object) -> None:
        self._give(0, event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._give(1, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._give(2, event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._give(3, event, fields)

    def _give(self, level: int, event: str, fields: dict[str, object]) -> None:
        if level >= self._least:
            self._sink(LEVELS[level], event, fields)


def is_debugging() -> bool:
    """Whether events of level debug are written: what makes many of them need not be attached otherwise."""
    return _level == "debug"


def debug(event: str, **fields: object) -> None:
    if _logger is not None:
        _logger.debug(event, **fields)


def info(event: str, **fields: object) -> None:
    if _logger is not None:
        _logger.info(event, **fields)


def warning(event: str, **fields: object) -> None:
    if _logger is not None:
        _logger.warning(event, **fields)


def _wants_colors() -> bool:
    """On a terminal that has some, unless NO_COLOR (no-color.org) says otherwise."""
    import os
    import sys

    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")
