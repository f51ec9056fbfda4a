"""Limits of a worker's resources: setrlimit(2).

Of memory, there is one of address space (RLIMIT_AS): what a worker has mapped when its machine is made, with all of the guest's
RAM, and `ROOM` beside. What is resident cannot be limited without cgroups, and RLIMIT_DATA counts the guest's sparse mapping, too.
Of processes there is none (RLIMIT_NPROC): it would count all that the user runs. System calls that make processes are denied
instead. Of the processor's time there is none: a guest may run for ever, and `MachineSpec.timeout` is for that.
"""

import resource
from typing import Final

from kev.addressing import GIB, MIB, PAGE_SIZE

ROOM: Final = GIB
"""Bytes of address space beside what is mapped: threads, timelines, snapshots being written, and so on."""
_OPEN_FILES: Final = 256
_SNAPSHOT_ROOM: Final = 64 * MIB
"""Bytes of a snapshot beside its pages."""


def available() -> tuple[bool, str]:
    return True, f"address space, size of files, {_OPEN_FILES} open files, no core files"


def limit_process() -> None:
    """What holds before there is a machine, too."""
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_NOFILE, _OPEN_FILES)


def limit_machine(ram: int, largest_disk: int | None) -> None:
    """To be called when the machine is made: `ram` bytes, and the size of the largest disk that is written in place.

    None stands for a disk that has no size of its own.
    """
    with open("/proc/self/statm", "rb") as file:
        mapped = int(file.read().split()[0]) * PAGE_SIZE
    limit(resource.RLIMIT_AS, mapped + ROOM)
    if largest_disk is not None:
        # What is stored of a page in a snapshot takes hardly more than the page.
        limit(resource.RLIMIT_FSIZE, max(ram + ram // 64 + _SNAPSHOT_ROOM, largest_disk))


def limit(which: int, value: int) -> None:
    """`which` is a resource. A limit that is lower already stays."""
    _, most = resource.getrlimit(which)
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(which, (value, value))
