"""What can be wrong with a fleet."""

from kev.work.base import WorkError


class FleetError(WorkError):
    """A place is none, cannot be reached, or is not like this process; or something cannot be sent there."""
