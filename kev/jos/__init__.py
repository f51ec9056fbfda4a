"""Hosts of the JOS VMM: several guests, and the host's own environments, taking turns in one process."""

TYPE_CHECKING = False  # typing's own would take longer to import than all of this

__all__ = ["Guest", "Host"]

if TYPE_CHECKING:
    from kev.jos.guest import Guest as Guest
    from kev.jos.host import Host as Host
else:
    _MODULES = {"Guest": "kev.jos.guest", "Host": "kev.jos.host"}

    def __getattr__(name: str) -> object:
        """Imports what is asked for."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(_MODULES[name]), name)

    def __dir__() -> list[str]:
        return __all__
