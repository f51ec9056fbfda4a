"""How a description of a machine is refused."""

from typing import Any, Final

from kev.errors import KevError, known_names

_LONGEST: Final = 60


class SpecError(KevError):
    """A field of a machine's description cannot have the value that was given. Names the field, the value and the limit."""


def refusal(label: str, value: Any, problem: str) -> SpecError:
    """`label` is what whoever gave the value calls the field."""
    return SpecError(f"{label}: {shown(value)}: {problem}")


def shown(value: Any) -> str:
    """A value as messages have it: not longer than a line, whatever it is."""
    try:
        text = repr(value)
    except Exception:  # nested too deep, a number with too many digits, or an object whose own fault it is
        return f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def unknown(label: str, value: str, what: str, known: tuple[str, ...] | list[str]) -> SpecError:
    """`value` is none of those that are `known`: `what` says of what. Names the nearest."""
    return refusal(label, value, f"there is no such {what}: {known_names(value, known)}")
