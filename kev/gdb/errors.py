"""What can go wrong between a debugger and a machine."""

from kev.errors import KevError


class GdbError(KevError):
    """A debugger cannot be served as somebody asked: the address to listen on, or a request, is at fault."""
