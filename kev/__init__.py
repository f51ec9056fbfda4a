"""kev: a lazy-paging hypervisor. The guest starts at once; every page is loaded when it is first touched, exactly once."""

from kev.version import __version__

__all__ = ["__version__"]
