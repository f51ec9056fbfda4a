"""What a run was like, as numbers."""

from typing import Any

import attrs

from kev.ending import Ending


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
    exits: dict[str, int]
    """How often each kind of exit was taken, by Intel's name."""
    launch_ms: float
    """Until the first guest instruction."""
    first_output_ms: float | None
    """Until the first byte the guest printed; None if it printed nothing."""
    run_ms: float
    """Until the end."""

    @property
    def exit_code(self) -> int:
        return self.ending.exit_code

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON holds it."""
        ending = {"kind": self.ending.kind.value, "message": self.ending.message}
        fields = attrs.asdict(self, filter=lambda field, _: field.name != "ending")
        return {"exit_code": self.exit_code, "ending": ending, **fields}
