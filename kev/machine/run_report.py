"""What a run was like, as numbers."""

from typing import TYPE_CHECKING, Any, Final

from kev.machine.ending import EXIT_CODE_INTERRUPTED, Ending, EndingKind
from kev.named_tuple import NamedTuple

if TYPE_CHECKING:
    from kev.postmortem.death import Death

_LEFT_OUT: Final = frozenset(("death", "ending", "output", "screen", "screen_is_news", "timeline"))


class RunReport(NamedTuple):
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
    """When each phase was over, in order: parse, register, engine, first instruction, first output, end. Those there were.

    `imports`, if anything had to be imported to go on, with what ran before it as `head start`.
    """
    output: bytes = b""
    """What the guest printed, if nobody else was given it."""
    screen: str = ""
    """What stands in the memory of a VGA's text mode at the end (`kev.dev.display.screen`)."""
    screen_is_news: bool = False
    """The guest has written to the screen what it has printed nowhere, and nothing but what was on the screen, too."""
    unanswered: dict[str, Any] | None = None
    """`accesses` to addresses without memory or a device, how many `pages` those are, and their `ranges`; None without any."""
    timeline: dict[str, Any] | None = None
    """What happened to pages (`kev.observe.timeline_json`), if it was asked for."""

    death: "Death | None" = None
    """The state of the vCPUs, if the guest died or the run was cut short."""

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
        return self.ending.kind is EndingKind.INTERRUPTED and self.exit_code == EXIT_CODE_INTERRUPTED

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON holds it: all but what the guest printed."""
        ending = {"kind": self.ending.kind.value, "message": self.ending.message}
        fields = {name: value for name, value in self._asdict().items() if name not in _LEFT_OUT}
        times = {"launch_ms": self.launch_ms, "first_output_ms": self.first_output_ms, "run_ms": self.run_ms}
        timeline = {} if self.timeline is None else {"timeline": self.timeline}
        death = {} if self.death is None else {"death": self.death.as_dict()}
        return {"exit_code": self.exit_code, "ending": ending, **fields, **times, **timeline, **death}
