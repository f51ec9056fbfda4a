"""When a launch had come how far."""

from typing import NamedTuple


class LaunchTimes(NamedTuple):
    """The moments of a launch, by `time.perf_counter`, in seconds."""

    began: float
    parsed: float
    """The image's headers are read and checked."""
    registered: float
    """Every page has its loader."""
    built: float
    """The machine is ready to run."""

    def phases(self, first_instruction: float | None, first_output: float | None, ended: float) -> dict[str, float]:
        """When each phase of the run was over, in milliseconds from the launch; what the run did not reach is left out."""
        moments = {
            "parse": self.parsed,
            "register": self.registered,
            "engine": self.built,
            "first instruction": first_instruction,
            "first output": first_output,
            "end": ended,
        }
        return {name: (moment - self.began) * 1e3 for name, moment in moments.items() if moment is not None}
