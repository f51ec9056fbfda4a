"""Takes back an IN or OUT that must not take place.

The emulated CPU makes a port access by a callback in the middle of the instruction, which cannot be left there. But behind the
access it looks for I/O breakpoints (Intel SDM vol. 3, "Debug registers"), if it was told that there might be one. So one is
planted; when it hits, it is removed, with everything that the instruction has done to registers.

A guest that writes to DR7 tells the CPU that there is none. Then the rest of the block is executed, and all registers are put back
to what they were; what it has stored stays. From there on the CPU looks again.
"""

from array import array
from typing import Final

from kev.engine.amdv import layout
from kev.engine.amdv.vcpu import HFLAGS_IO_BREAKPOINTS, AmdvVcpu

_GENERAL: Final = slice(layout.GENERAL_REGISTERS >> 3, (layout.GENERAL_REGISTERS >> 3) + 16)
_DEBUG: Final = slice(layout.DEBUG_REGISTERS >> 3, (layout.DEBUG_REGISTERS >> 3) + 8)
_DR0: Final = layout.DEBUG_REGISTERS >> 3
_DR7: Final = _DR0 + 7
_BREAKPOINT_0: Final = 1 << 1 | 2 << 16 | 3 << 18  # enabled, at I/O, of 4 bytes


class PortTrap:
    """A breakpoint at the port access that the CPU is making."""

    __slots__ = ("_debug", "_everything", "_general")

    def __init__(self) -> None:
        self._general: array[int] | None = None
        self._debug: array[int] | None = None
        self._everything: array[int] | None = None

    def plant(self, vcpu: AmdvVcpu, port: int) -> bool:
        """Makes the CPU raise #DB behind its access to `port`. False if it does not look: the guest has just written to DR7."""
        quads = vcpu.quads
        if not vcpu.words[layout.HFLAGS >> 2] & HFLAGS_IO_BREAKPOINTS:
            vcpu.words[layout.HFLAGS >> 2] |= HFLAGS_IO_BREAKPOINTS
            self._everything = array("Q", quads)
            return False
        self._general, self._debug = array("Q", quads[_GENERAL]), array("Q", quads[_DEBUG])
        quads[_DR0], quads[_DR7] = port, _BREAKPOINT_0
        return True

    def remove(self, vcpu: AmdvVcpu) -> None:
        """Puts the registers back to what they were before the instruction, RIP aside."""
        if self._everything is not None:
            vcpu.quads[:] = memoryview(self._everything)
            self._everything = None
        if self._general is not None and self._debug is not None:
            vcpu.quads[_GENERAL], vcpu.quads[_DEBUG] = memoryview(self._general), memoryview(self._debug)
            self._general = self._debug = None
