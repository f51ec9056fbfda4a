"""KeV's ABI for KeOS: two hypercalls of its own beside KVM's CPUID leaves, clock and hypercalls."""

from typing import Final

from kev.abi.base import MARK, HypercallError
from kev.abi.kvm import Kvm
from kev.addressing import Gva
from kev.engine.base import VcpuState
from kev.exits import Vmcall

LONGEST_PRINT: Final = 1 << 20
"""Bytes; a longer one is a guest's mistake."""
_EXIT: Final = 0
_PRINT: Final = 1


class Keos(Kvm):
    """VMCALL with the number in RAX and the arguments in RDI and RSI, from any CPL; RAX stays as it is.

    0 ends the run with exit code RDI; 1 prints RSI bytes at guest-virtual address RDI. `MARK` says that what race tests are about
    begins, and does nothing in other runs. All other numbers are KVM's.
    """

    name = "keos"

    def hypercall(self, state: VcpuState, exit: Vmcall) -> int | None:
        number = state.rax
        if number == _PRINT:
            return self._print(state, exit)
        if number == _EXIT:
            return self._exit(state, exit)
        if number & 0xFFFF_FFFF == MARK:
            return number
        return super().hypercall(state, exit)

    def _exit(self, state: VcpuState, exit: Vmcall) -> int | None:
        self.services.end(state.rdi & 0xFFFF_FFFF)
        return None

    def _print(self, state: VcpuState, exit: Vmcall) -> int | None:
        """HypercallError if the text is too long; DeviceError if it is not in memory."""
        length = state.rsi
        if length > LONGEST_PRINT:
            raise HypercallError(f"hypercall 1 (print) of {length} bytes; the limit is {LONGEST_PRINT}")
        self.services.write(self.services.read_virtual(state, Gva(state.rdi), length))
        return _PRINT
