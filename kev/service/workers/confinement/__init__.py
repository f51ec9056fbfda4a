"""What a worker is forbidden, so that a guest that takes over the emulator can neither start programs nor reach other files.

Each measure is Linux's own, is taken where the kernel has it, and is said by `describe` if it is not: see docs/service-workers.md.
"""

import sys
from typing import Final, NamedTuple


class Confinement(NamedTuple):
    """Which measures are taken, where there are any."""

    seccomp: bool = True
    """System calls that no machine needs fail."""
    landlock: bool = True
    """No file can be opened by its name, but for what Python and libraries are loaded from."""
    capabilities: bool = True
    """The rights of root are given away."""
    limits: bool = True
    """Of memory, open files and sizes of files."""


class Measure(NamedTuple):
    """What `describe` says of one measure."""

    name: str
    in_force: bool
    detail: str
    """How it is in force, or why it is not."""


ALL: Final = Confinement()


def describe(wanted: Confinement = ALL) -> tuple[Measure, ...]:
    """What of `wanted` is in force in workers on this host."""
    if sys.platform != "linux":
        return tuple(Measure(name, False, f"not on {sys.platform}") for name in Confinement._fields)
    from kev.service.workers.confinement import capabilities, landlock, limits, seccomp

    measures = zip(Confinement._fields, wanted, (seccomp, landlock, capabilities, limits), strict=True)
    return tuple(
        Measure(name, *module.available()) if is_wanted else Measure(name, False, "not wanted")
        for name, is_wanted, module in measures
    )
