"""What can go wrong in the service besides what goes wrong with a machine."""

from kev.errors import KevError


class MachineLost(KevError):
    """The process that a machine lived in is gone, and the machine with it. Says how that ended, such as by which signal."""


class NoWorker(KevError):
    """The host gives no process for another machine: says why."""
