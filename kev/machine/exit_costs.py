"""What exits take in virtual time, in nanoseconds besides the one of the instruction itself.

An exit takes what it takes on hardware, so that a guest that waits by polling a clock or a device waits about as long as it does
there. Measured for SVM on EPYC processors: 1,376 cycles from VMRUN to behind the exit, and 2,528 if the exit goes on to user space
and back (M. Roth, "KVM: SVM: use vmsave/vmload for saving/restoring additional host state", Linux kernel mailing list, December
2020). PAUSE: up to 140 cycles (Intel 64 and IA-32 Architectures Optimization Reference Manual, "Pause latency in Skylake client
microarchitecture"). All at 2.5 GHz. As in KVM, devices are in user space.

Violations take nothing: all vCPUs stand still until the page is there, however long that is.
"""

from collections.abc import Mapping
from typing import Final

from kev.exits import Cpuid, CrAccess, Hlt, InvalidOpcode, IoIn, IoOut, MmioRead, MmioWrite, Pause, Rdmsr, Rdtsc, Vmcall, Wrmsr

_EXIT: Final = 550
_EXIT_TO_USER_SPACE: Final = 1_011
_PAUSE: Final = 56

EXIT_COSTS: Final[tuple[Mapping[type, int], ...]] = (
    {},
    {
        **dict.fromkeys((Cpuid, CrAccess, Hlt, InvalidOpcode, Rdmsr, Rdtsc, Vmcall, Wrmsr), _EXIT),
        **dict.fromkeys((IoIn, IoOut, MmioRead, MmioWrite), _EXIT_TO_USER_SPACE),
        Pause: _PAUSE,
    },
)
"""Every table that runs were recorded with, by its version: tokens of race tests say which. A table that was released stays."""
CURRENT: Final = len(EXIT_COSTS) - 1
"""The version that new runs have."""
