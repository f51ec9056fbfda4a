"""What has to be the same here and where work is done, for the same work to have the same result."""

import hashlib
import platform
from functools import cache
from importlib.metadata import version
from typing import NamedTuple, Self

from kev.guests.catalogue import root_file_system
from kev.version import __version__


class Versions(NamedTuple):
    """Those of one process."""

    kev: str
    python: str
    """The first two numbers."""
    unicorn: str
    guests: str
    """The beginning of SHA-256 of the root file system, in hexadecimal."""

    @classmethod
    @cache
    def here(cls) -> Self:
        with open(root_file_system(), "rb") as file:
            guests = hashlib.file_digest(file, "sha256").hexdigest()[:12]
        return cls(__version__, short(platform.python_version()), version("unicorn"), guests)

    def difference(self, other: "Versions") -> str:
        """What is different, in words that name both: here, and there; empty if nothing is."""
        names = {"kev": "kev", "python": "Python", "unicorn": "Unicorn", "guests": "a root file system with SHA-256"}
        return "; ".join(
            f"{names[field]} {mine} here, and {theirs} there"
            for field, mine, theirs in zip(self._fields, self, other, strict=True)
            if mine != theirs
        )


def short(python: str) -> str:
    """The first two numbers of a version of Python."""
    return ".".join(python.split(".")[:2])
