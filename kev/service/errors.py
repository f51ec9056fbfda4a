"""What can go wrong in the service besides what goes wrong with a machine."""

from typing import Any

from kev.errors import KevError


class MachineLost(KevError):
    """The process that a machine lived in is gone, and the machine with it. Says how that ended, such as by which signal."""


class NoWorker(KevError):
    """The host gives no process for another machine: says why."""


class ServiceError(KevError):
    """A client asks for what there is not, what cannot be, or what is too much. Names the thing, its value and the limit."""

    field: str = ""
    """What the client calls the thing, such as `spec.memory`; empty if it has no name."""
    value: Any = None
    limit: Any = None
    """What the value may be; None if that is no single value."""

    def __init__(self, message: str, *, field: str = "", value: Any = None, limit: Any = None) -> None:
        super().__init__(message)
        self.field, self.value, self.limit = field, value, limit


class NotThere(ServiceError):
    """No machine, snapshot or job is called so."""


class Conflict(ServiceError):
    """The state of a machine forbids what is asked for, or a name is taken."""


class Gone(ServiceError):
    """There was such a thing, which went with the run."""


class Forbidden(ServiceError):
    """Whoever asks may not name this file."""


class Invalid(ServiceError):
    """A field of the request cannot have this value."""


class LimitReached(ServiceError):
    """The service holds as much as it may. What was asked for may be possible later."""

    retry_after = 5
    """Seconds after which asking again makes sense."""


class InputFull(LimitReached):
    """A guest has not taken what was typed before."""


class ShuttingDown(ServiceError):
    """The service is about to end, and begins nothing."""


class StorageFull(ServiceError):
    """There is no room left where the service keeps its files."""
