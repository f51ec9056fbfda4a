"""Accesses of several vCPUs to one variable that collide."""

from typing import Any

import attrs


@attrs.frozen(slots=True)
class ConflictingAccess:
    """One of them."""

    step: int
    vcpu: int
    text: str
    """`reads 5`, `changes 5 to 10`."""
    place: str
    """The instruction's function and line."""
    source: str | None = None
    """What is in that line."""

    def as_dict(self) -> dict[str, Any]:
        return attrs.asdict(self)


@attrs.frozen(slots=True)
class Conflict:
    """All of them, in the order of the run."""

    variable: str
    accesses: tuple[ConflictingAccess, ...]
    claim: str = ""
    """What is known of them, in a sentence."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"variable": self.variable, "accesses": [access.as_dict() for access in self.accesses], "claim": self.claim or None}
