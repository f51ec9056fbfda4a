"""Race tests: explore the interleavings of vCPUs, shrink a failure, replay it."""

TYPE_CHECKING = False

__all__ = [
    "Action",
    "Cancelled",
    "Page",
    "Program",
    "RaceDetected",
    "TraceVcpu",
    "Verb",
    "cancel",
    "check",
    "check_guest",
    "check_host",
    "evict",
    "fence",
    "fetch",
    "locked_write",
    "prefetch",
    "races",
    "read",
    "write",
]

if TYPE_CHECKING:
    from kev.race.testing import RaceDetected, check, check_guest, check_host, races
    from kev.race.trace.program import (
        Action,
        Page,
        Program,
        Verb,
        cancel,
        evict,
        fence,
        fetch,
        locked_write,
        prefetch,
        read,
        write,
    )
    from kev.race.trace.vcpu import Cancelled, TraceVcpu
else:
    _MODULES = {
        **dict.fromkeys(("RaceDetected", "check", "check_guest", "check_host", "races"), "kev.race.testing"),
        **dict.fromkeys(("Cancelled", "TraceVcpu"), "kev.race.trace.vcpu"),
    }

    def __getattr__(name: str) -> object:
        """Imports what is asked for: a token is read, or refused, without all that could be explored."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(_MODULES.get(name, "kev.race.trace.program")), name)

    def __dir__() -> list[str]:
        return __all__
