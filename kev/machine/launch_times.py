"""When a launch had come how far."""

from kev.named_tuple import NamedTuple


class LaunchTimes(NamedTuple):
    """The moments of a launch, by `time.perf_counter`, in seconds."""

    began: float
    parsed: float
    """The image's headers are read and checked."""
    registered: float
    """Every page has its loader."""
    built: float
    """The machine is ready to run."""

    def phases(
        self,
        first_instruction: float | None,
        first_output: float | None,
        ended: float,
        imports: tuple[float, float] | None = None,
    ) -> dict[str, float]:
        """When each phase of the run was over, in milliseconds from the launch; what the run did not reach is left out.

        `imports` is from when until when what drives longer runs was imported, if it was: what ran before that is the head start.
        """
        began, over = (None, None) if imports is None else imports
        starts_before = began is not None and first_instruction is not None and first_instruction < began
        moments = {
            "parse": self.parsed,
            "register": self.registered,
            "engine": self.built,
            "first instruction": first_instruction,
            "head start": began if starts_before else None,
            "imports": over,
            "first output": first_output,
            "end": ended,
        }
        reached = [(name, moment) for name, moment in moments.items() if moment is not None]
        return {name: (moment - self.began) * 1e3 for name, moment in sorted(reached, key=lambda phase: phase[1])}
