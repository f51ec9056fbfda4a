"""What a pager counts."""

import attrs


@attrs.define(slots=True)
class PagerStatistics:
    """What has happened so far, in pages."""

    loads: int = 0
    failures: int = 0
    cancellations: int = 0
    evictions: int = 0
    waits: int = 0
    """How often a vCPU waited for another's load."""
    spurious: int = 0
    """Violations on pages that were Present already."""

    @property
    def present(self) -> int:
        """Loaded, and not evicted since."""
        return self.loads - self.evictions
