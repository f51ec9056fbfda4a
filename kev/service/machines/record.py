"""What is written down of a machine, so that a service that begins later knows of it."""

from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import attrs

from kev.service.endings import ENDING, told_ending
from kev.service.home import Status
from kev.service.machines.figures import Figures
from kev.service.machines.keeping import kept_console, kept_documents
from kev.service.machines.machine import Identity, ServedMachine, time_text
from kev.service.machines.state_directory import MachineFiles, StateError
from kev.spec.errors import SpecError
from kev.spec.machine_spec import MachineSpec
from kev.user_json import flag, integer, named, one_of, optional, record, text

_FORMAT: Final = 1
_STATES: Final = ("created", "running", "paused", "ended", "lost")


SHAPE: Final = record(
    {
        "format": integer(_FORMAT, _FORMAT),
        "id": text,
        "name": text,
        "spec": record({}),
        "labels": named(text),
        "on_shutdown": one_of("snapshot", "stop"),
        "created": text,
        "started": optional(text),
        "ended": optional(text),
        "state": one_of(*_STATES),
        "ending": optional(ENDING),
        "message": text,
        "console": record({"start": integer(), "end": integer()}),
        "pages_loaded": integer(),
        "violations": integer(),
        "saved": flag,
    }
)


@attrs.frozen
class MachineRecord:
    """As it is read back."""

    identity: Identity
    status: Status
    started: datetime | None
    ended: datetime | None
    console_end: int
    figures: Figures
    saved: bool
    """The machine goes on from the snapshot beside the record."""

    @classmethod
    def read(cls, data: dict[str, Any], name: str) -> "MachineRecord":
        """Of what has `SHAPE`. StateError, naming the file, if it can be no machine all the same."""
        try:
            return cls(
                identity=Identity(
                    data["id"],
                    data["name"],
                    MachineSpec.of(data["spec"]),
                    data["labels"],
                    data["on_shutdown"],
                    datetime.fromisoformat(data["created"]),
                ),
                status=Status(data["state"], told_ending(data["ending"]), data["message"]),
                started=None if data["started"] is None else datetime.fromisoformat(data["started"]),
                ended=None if data["ended"] is None else datetime.fromisoformat(data["ended"]),
                console_end=data["console"]["end"],
                figures=Figures(data["pages_loaded"], data["violations"]),
                saved=data["saved"],
            )
        except (ValueError, SpecError) as error:
            raise StateError(f"{name}: not a record of this service: {error}") from error

    @property
    def is_over(self) -> bool:
        return self.status.state in ("ended", "lost")

    def finished(self, status: Status, files: MachineFiles, most_printed: int) -> ServedMachine:
        """The machine, whose run is over, with this status, and what was kept of it; of what it has printed, so many bytes."""
        began = None if self.status.state == "created" else self.identity.created
        times = (self.started or began, self.ended or datetime.now(UTC))
        console = kept_console(files, most_printed, self.console_end)
        return ServedMachine.finished(self.identity, console, status, times, self.figures, partial(kept_documents, files))


def record_of(machine: ServedMachine, *, state: str | None = None, saved: bool = False) -> dict[str, Any]:
    """What has `SHAPE`. `state`, if it is not the machine's; `saved`: its snapshot is beside the record."""
    described = machine.describe()
    del described["process"]
    return {
        **described,
        "format": _FORMAT,
        "state": state or machine.state,
        "created": time_text(machine.identity.created),
        "saved": saved,
    }
