"""IRET and far returns at CPL 3 (Intel SDM vol. 3, "Determination of access mode").

The emulated CPU reads their stack as a supervisor does, so with CR4.SMAP it refuses the pages of a program that is at CPL 3.
Kernels that a hypervisor of their own has moved there return so. The instruction is executed again without SMAP, and by a single
step, which is the hypervisor's own.
"""

from typing import Final

from kev import x86
from kev.engine.amdv import layout
from kev.engine.amdv.decode import IRET, LONGEST_INSTRUCTION, far_return
from kev.engine.amdv.linear import LinearMemory
from kev.engine.amdv.slice import Slice
from kev.engine.amdv.vcpu import HFLAGS_SMAP, SS, AmdvVcpu

_HFLAGS: Final = layout.HFLAGS >> 2
_RFLAGS: Final = layout.RFLAGS >> 2
_ERROR_CODE: Final = layout.ERROR_CODE >> 2
_PRESENT: Final = 1 << 0
_USER: Final = 1 << 2
_LARGEST_FRAME: Final = 40
"""Of IRETQ: RIP, CS, RFLAGS, RSP and SS. That of a far return is smaller, but for what it releases, which is not read."""
_NO_EXCEPTION: Final = 0xFFFF_FFFF


class UserReturns:
    """Executes them without SMAP, one at a time."""

    __slots__ = ("_dr6", "_linear", "_loads_flags", "_slice", "_steps", "is_under_way")

    def __init__(self, slice: Slice, linear: LinearMemory) -> None:
        self._slice: Final = slice
        self._linear: Final = linear
        self.is_under_way = False
        """One was begun without SMAP, and `end` is due."""
        self._loads_flags = False
        self._steps = False
        self._dr6 = 0

    def begin(self, vcpu: AmdvVcpu) -> bool:
        """What is done about a page fault at CPL 3 whose error code says that it was a supervisor's.

        True: it is none, and the instruction is begun again. Else the error code is that of a program, if a return has read its
        stack.
        """
        code = self._linear.peek(vcpu, vcpu.instruction_address, LONGEST_INSTRUCTION)
        opcode = far_return(code, in_64_bit_mode=vcpu.in_64_bit_mode)
        words = vcpu.words
        if opcode is None or not self._reads(vcpu):
            return False
        if not words[_ERROR_CODE] & _PRESENT:
            words[_ERROR_CODE] |= _USER
            return False
        if not words[_HFLAGS] & HFLAGS_SMAP:
            return False
        words[_HFLAGS] &= ~HFLAGS_SMAP
        words[layout.OLD_EXCEPTION >> 2] = _NO_EXCEPTION
        self._loads_flags = opcode == IRET
        self._steps = not words[_RFLAGS] & x86.RFLAGS_TF
        self._dr6 = vcpu.dr6
        words[_RFLAGS] |= x86.RFLAGS_TF
        self._slice.do_not_count()
        self.is_under_way = True
        return True

    def end(self, vcpu: AmdvVcpu, *, trapped: bool) -> bool:
        """The instruction is behind (`trapped`: #DB was raised), or something has kept it. Whether the trap is not the guest's."""
        vcpu.words[_HFLAGS] |= HFLAGS_SMAP
        self.is_under_way = False
        if not self._steps:
            return False
        if not (trapped and self._loads_flags):
            vcpu.words[_RFLAGS] &= ~x86.RFLAGS_TF
        if trapped:
            vcpu.dr6 = self._dr6
        return trapped

    def _reads(self, vcpu: AmdvVcpu) -> bool:
        """Whether the page that is missed is that of the frame."""
        stack = vcpu.rsp if vcpu.in_64_bit_mode else vcpu.raw_segment(SS)[1] + (vcpu.rsp & 0xFFFF_FFFF)
        return 0 <= vcpu.cr2 - stack < _LARGEST_FRAME
