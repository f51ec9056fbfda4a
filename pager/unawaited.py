"""Coroutines that nobody will await, and that nobody need be warned of."""

from types import CoroutineType
from typing import Any


def close_unawaited(awaitable: object) -> None:
    """Closes a coroutine, and if it has not begun, those that it was given to await: else Python warns of each that it drops."""
    if not isinstance(awaitable, CoroutineType):
        return
    given = _arguments(awaitable)
    awaitable.close()
    for value in given:
        close_unawaited(value)


def _arguments(coroutine: "CoroutineType[Any, Any, Any]") -> list[object]:
    """What it was called with, if it has not begun."""
    from inspect import CORO_CREATED, getcoroutinestate

    frame = coroutine.cr_frame
    return list(frame.f_locals.values()) if frame is not None and getcoroutinestate(coroutine) == CORO_CREATED else []
