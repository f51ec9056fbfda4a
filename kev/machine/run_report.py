"""What a run was like, as numbers."""

from typing import Any, Final

import attrs

from kev.machine.ending import Ending, EndingKind

_LEFT_OUT: Final = frozenset(("ending", "output", "screen", "timeline"))


@attrs.frozen(slots=True, kw_only=True)
class RunReport:
    """The figures of one run. Times are in milliseconds from the call that launched the machine."""

    image: str
    ending: Ending
    pages_loaded: int
    image_pages: int
    """Pages that hold something of the image."""
    ram_pages: int
    """Pages of RAM, the image included."""
    violations: int
    page_waits: int
    """How often a vCPU gave up the CPU to wait for a page."""
    paging: dict[str, Any]
    """The paging policy, and what it has to say about the run."""
    exits: dict[str, int]
    """How often each kind of exit was taken, by Intel's name."""
    phases: dict[str, float]
    """When each phase was over, in order: parse, register, engine, first instruction, first output, end. Those there were."""
    output: bytes = attrs.field(default=b"", repr=False)
    """What the guest printed, if nobody else was given it."""
    screen: str = attrs.field(default="", repr=False)
    """What stands in the memory of a VGA's text mode at the end (`kev.dev.display.screen`)."""
    timeline: dict[str, Any] | None = None
    """What happened to pages (`kev.observe.timeline_json`), if it was asked for."""

    @property
    def launch_ms(self) -> float | None:
        """Until the first guest instruction; None if there was none."""
        return self.phases.get("first instruction")

    @property
    def first_output_ms(self) -> float | None:
        """Until the first byte the guest printed; None if it printed nothing."""
        return self.phases.get("first output")

    @property
    def run_ms(self) -> float:
        """Until the end."""
        return self.phases["end"]

    @property
    def exit_code(self) -> int:
        return self.ending.exit_code

    @property
    def was_interrupted(self) -> bool:
        """Ctrl-C ended the run."""
        return self.ending.kind is EndingKind.INTERRUPTED

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON holds it: all but what the guest printed."""
        ending = {"kind": self.ending.kind.value, "message": self.ending.message}
        fields = attrs.asdict(self, recurse=False, filter=lambda field, _: field.name not in _LEFT_OUT)
        times = {"launch_ms": self.launch_ms, "first_output_ms": self.first_output_ms, "run_ms": self.run_ms}
        timeline = {} if self.timeline is None else {"timeline": self.timeline}
        return {"exit_code": self.exit_code, "ending": ending, **fields, **times, **timeline}
