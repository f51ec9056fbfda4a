"""How a race test is refused."""

from kev.errors import KevError


class RaceError(KevError):
    """A race test was asked for something that it cannot do."""


class ProgramError(RaceError):
    """A trace program does not say what can be done."""


class TokenError(RaceError):
    """A token is damaged, or of something else than what it is to be replayed on."""


class CannotReplay(RaceError):
    """A schedule asks for a vCPU that cannot run at that moment: it was recorded with another program, or another version."""


class ScheduleOver(CannotReplay):
    """A schedule has been followed to its end, but the run has not ended."""


class NothingToShrink(RaceError):
    """A run ends well."""
