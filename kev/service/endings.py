"""How a run ended, as processes and clients of the service tell it."""

from collections.abc import Mapping
from typing import Any, Final

from kev.machine.ending import Ending, EndingKind
from kev.user_json import integer, one_of, record, text

ENDING: Final = record({"kind": one_of(*(kind.value for kind in EndingKind)), "exit_code": integer(0, 255), "message": text})
"""What `described_ending` makes of an ending."""


def described_ending(ending: Ending | None) -> dict[str, Any] | None:
    """As JSON holds it."""
    return None if ending is None else {"kind": ending.kind.value, "exit_code": ending.exit_code, "message": ending.message}


def told_ending(told: Mapping[str, Any] | None) -> Ending | None:
    """What `described_ending` has described."""
    return None if told is None else Ending(EndingKind(told["kind"]), told["exit_code"], told["message"])
