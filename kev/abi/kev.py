"""The ABI of an image of which nobody says which it is made for: KVM's, and KeV's two hypercalls where they can be meant.

KeV's test guests boot by every protocol, and so do kernels that are made for KVM. Both find KVM's signature, and both may call with
0 or 1: in KVM's ABI, 0 is no number, and 1 has no arguments. What decides are the registers that only KeV's calls use.
"""

from typing import Final

from kev import log
from kev.abi.keos import LONGEST_PRINT, Keos
from kev.abi.kvm import Kvm
from kev.dev.base import DeviceError
from kev.engine.base import VcpuState
from kev.exits import Vmcall

_LARGEST_CODE: Final = 1 << 20
"""Exit codes are smaller, and not less than its negative. What else a kernel has in RDI, it most likely points with to memory
above 1 MiB, where it was loaded."""
_SIGN: Final = 1 << 31
_HIGH_HALVES: Final = (0, 0xFFFF_FFFF)


class Kev(Keos):
    """0 is KeV's if RDI can be an exit code, 1 if RDI and RSI can be text. Otherwise they are as unknown as to KVM."""

    name = "kev"

    def _exit(self, state: VcpuState, exit: Vmcall) -> int | None:
        if _can_be_exit_code(state.rdi):
            return super()._exit(state, exit)
        log.debug("hypercall 0 is not taken for KeV's exit: RDI is no exit code", rdi=hex(state.rdi), rip=hex(state.rip))
        return Kvm.hypercall(self, state, exit)

    def _print(self, state: VcpuState, exit: Vmcall) -> int | None:
        if state.rsi <= LONGEST_PRINT:
            try:
                return super()._print(state, exit)
            except DeviceError as error:
                log.debug("hypercall 1 is not taken for KeV's print", reason=str(error), rip=hex(state.rip))
        return Kvm.hypercall(self, state, exit)


def _can_be_exit_code(value: int) -> bool:
    """A small number, or the negative of one, of 32 or 64 bits."""
    if value < _LARGEST_CODE:
        return True
    low = value & 0xFFFF_FFFF
    return value >> 32 in _HIGH_HALVES and low & _SIGN != 0 and (1 << 32) - low <= _LARGEST_CODE
