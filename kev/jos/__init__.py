"""Hosts of the JOS VMM: several guests, and the host's own environments, taking turns in one process."""

from kev.jos.guest import Guest
from kev.jos.host import Host

__all__ = ["Guest", "Host"]
