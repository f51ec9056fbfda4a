"""A run, told moment by moment."""

from enum import Enum
from typing import Any

import attrs

from kev.race.outcome import Failure
from kev.race.stories.conflict import Conflict


class Kind(Enum):
    """What a moment is about: its colour in the picture."""

    ACCESS = "access"
    """A vCPU does what it came for."""
    LOAD = "load"
    WAIT = "wait"
    WAKE = "wake"
    EVICT = "evict"
    CANCEL = "cancel"
    OTHER = "other"


@attrs.frozen(slots=True)
class Moment:
    """What one vCPU did in one step, or in one turn of a guest."""

    number: int
    """Of the step, from 0; of the instruction with which a guest's turn began."""
    vcpu: int
    text: str
    """A clause about the vCPU: `claims page 0`."""
    kind: Kind
    states: tuple[str, ...] = ()
    """What became of each page: Absent, Loading or Present."""
    waiting: frozenset[int] = frozenset()
    """The vCPUs that cannot go on, afterwards."""
    begins: str = ""
    """The place where a guest's turn began."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"step": self.number, "vcpu": self.vcpu, "text": self.text, "kind": self.kind.value, "begins": self.begins or None}


@attrs.frozen(slots=True)
class Story:
    """A whole run."""

    title: str
    vcpus: int
    pages: int
    """How many pages the picture shows."""
    moments: tuple[Moment, ...]
    failure: Failure | None
    conflicts: tuple[Conflict, ...] = ()
    """The accesses that collided, those that matter most first."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        failure = None if self.failure is None else {"oracle": self.failure.oracle, "message": self.failure.message}
        return {
            "title": self.title,
            "vcpus": self.vcpus,
            "moments": [moment.as_dict() for moment in self.moments],
            "failure": failure,
            "conflicts": [conflict.as_dict() for conflict in self.conflicts],
        }
