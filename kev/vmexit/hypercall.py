"""KeV's hypercalls: VMCALL with the number in RAX and the arguments in RDI, RSI, RDX, R10, R9, R8."""

from collections.abc import Callable
from typing import Final

from kev.addressing import Gva
from kev.engine.base import VcpuState
from kev.errors import KevError
from kev.exits import Reply, Vmcall

_EXIT: Final = 0
_PRINT: Final = 1
_LONGEST_PRINT: Final = 1 << 20  # bytes; a longer one is a guest's mistake


class HypercallError(KevError):
    """A hypercall that does not exist, or that cannot be carried out."""


class KevHypercalls:
    """0 ends the run with exit code RDI; 1 prints RSI bytes at guest-virtual address RDI."""

    __slots__ = ("_end", "_read_virtual", "_write")

    def __init__(
        self, end: Callable[[int], None], write: Callable[[bytes], None], read_virtual: Callable[[VcpuState, Gva, int], bytes]
    ) -> None:
        self._end = end
        self._write = write
        self._read_virtual = read_virtual

    def handle(self, state: VcpuState, _exit: Vmcall) -> Reply | None:
        number = state.rax
        if number == _EXIT:
            self._end(state.rdi & 0xFFFF_FFFF)
            return None
        if number == _PRINT:
            length = state.rsi
            if length > _LONGEST_PRINT:
                raise HypercallError(f"hypercall 1 (print) of {length} bytes; the limit is {_LONGEST_PRINT}")
            self._write(self._read_virtual(state, Gva(state.rdi), length))
            return number
        raise HypercallError(f"hypercall {number:#x} is not known: KeV has 0 (exit) and 1 (print)")
