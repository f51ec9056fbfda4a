"""Events of a run, for whoever asked to see them.

structlog takes longer to import than a small guest takes to boot, so it is imported when `configure` is called, and not at all in
a run that nobody asked to log.
"""

from typing import Any, Final

_logger: Any = None
_level = ""

LEVELS: Final = ("debug", "info", "warning", "error")


def configure(level: str) -> None:
    """From now on, events of `level` (one of LEVELS) and above are written to stderr, a line each."""
    global _logger, _level
    import logging
    import sys

    import structlog

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    _logger = structlog.get_logger("kev")
    _level = level


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
