"""SYSCALL and SYSRET, where the hypervisor has taken them away from the processor: EFER.SCE stays 0, so that each of them is #UD.

The hypervisor then does what the processor would have done, so that the guest's own handler at LSTAR runs, or serves the call
itself (AMD64 APM vol. 3, "SYSCALL" and "SYSRET"; Intel SDM vol. 2 for #GP).
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from kev.addressing import PAGE_SIZE, Gva, is_canonical, page_offset
from kev.dev.base import DeviceError
from kev.engine.base import VcpuState
from kev.engine.registers import SegmentRegister
from kev.exits import GENERAL_PROTECTION, INVALID_OPCODE, GuestException, InvalidOpcode
from kev.x86 import (
    CODE_32,
    CODE_64,
    CR0_PE,
    DATA_32,
    EFER_LMA,
    MSR_CSTAR,
    MSR_LSTAR,
    MSR_SFMASK,
    MSR_STAR,
    RFLAGS_IF,
    RFLAGS_RESERVED_1,
    RFLAGS_RF,
    RFLAGS_VM,
    SEGMENT_L,
)

_SYSCALL: Final = b"\x0f\x05"
_SYSRET: Final = b"\x0f\x07"
_SYSRETQ: Final = b"\x48\x0f\x07"
_BEGINNINGS: Final = frozenset({b"\x0f", b"\x48", b"\x48\x0f"})
"""What more has to be read of."""

_USER: Final = 3
_DPL_3: Final = _USER << 5
_MASK32: Final = 0xFFFF_FFFF
_4_GIB: Final = 0xFFFF_FFFF
_RETURNED_RFLAGS: Final = 0x3C_7FD7
"""What SYSRET takes from R11."""


class _Mode(NamedTuple):
    """How a vCPU executes."""

    long: bool
    """EFER.LMA: 64-bit or compatibility mode."""
    code_64: bool
    """64-bit mode."""

    @classmethod
    def of(cls, state: VcpuState) -> "_Mode":
        long = bool(state.efer & EFER_LMA)
        return cls(long, long and bool(state.cs.access & SEGMENT_L))


class SystemCallController:
    """The controller of `InvalidOpcode` exits. What is neither SYSCALL nor SYSRET is the guest's #UD.

    Whether the guest has set EFER.SCE is not known: SYSCALL is #UD as long as there is no entry point, and SYSRET never is.
    """

    __slots__ = ("_read_virtual", "_serve")

    def __init__(
        self,
        read_virtual: Callable[[VcpuState, Gva, int], bytes],
        serve: Callable[[VcpuState], int | None] | None = None,
    ) -> None:
        """`serve` carries out the system calls of programs: `kev.abi.base.GuestAbi.system_call`. Without it, the guest does."""
        self._read_virtual: Final = read_virtual
        self._serve: Final = serve

    def handle(self, state: VcpuState, exit: InvalidOpcode) -> int | GuestException | None:
        mode = _Mode.of(state)
        code = self._code(state, mode)
        if code.startswith(_SYSCALL):
            return _enter(state, mode) if self._serve is None else self._served(state, mode, self._serve)
        if code.startswith(_SYSRET):
            return _leave(state, mode, wide=False)
        if code.startswith(_SYSRETQ) and mode.code_64:
            return _leave(state, mode, wide=True)
        return INVALID_OPCODE

    def _code(self, state: VcpuState, mode: _Mode) -> bytes:
        """The bytes at RIP. On the next page none is read but those of an instruction that was fetched: there may be nothing."""
        start = state.rip if mode.code_64 else state.cs.base + state.rip & _MASK32
        here = min(len(_SYSRETQ), PAGE_SIZE - page_offset(start))
        try:
            code = self._read_virtual(state, Gva(start), here)
            while code in _BEGINNINGS:
                address = start + len(code)
                code += self._read_virtual(state, Gva(address if mode.code_64 else address & _MASK32), 1)
        except DeviceError:  # unmapped since it was fetched
            return b""
        return code

    def _served(self, state: VcpuState, mode: _Mode, serve: Callable[[VcpuState], int | None]) -> int | GuestException | None:
        if state.cpl != _USER:
            return INVALID_OPCODE
        reply = serve(state)
        if reply is None:
            return None
        state.rax = reply
        state.rip = _behind_syscall(state, mode)
        return 0


def _behind_syscall(state: VcpuState, mode: _Mode) -> int:
    address = state.rip + len(_SYSCALL)
    return address if mode.code_64 else address & _MASK32


def _enter(state: VcpuState, mode: _Mode) -> int | GuestException:
    """SYSCALL: to LSTAR from 64-bit mode, to CSTAR from compatibility mode, else to the low half of STAR."""
    star = state.read_msr(MSR_STAR)
    target = state.read_msr(MSR_LSTAR if mode.code_64 else MSR_CSTAR) if mode.long else star & _MASK32
    if not target or not state.cr0 & CR0_PE:
        return INVALID_OPCODE
    rflags = state.rflags & ~RFLAGS_RF
    state.rcx = _behind_syscall(state, mode)
    if mode.long:
        state.r11 = rflags
        rflags &= ~state.read_msr(MSR_SFMASK)
    else:
        rflags &= ~(RFLAGS_IF | RFLAGS_VM)
    state.rflags = rflags | RFLAGS_RESERVED_1
    _load_segments(state, star >> 32 & 0xFFFC, CODE_64 if mode.long else CODE_32, rpl=0)
    state.rip = target
    return 0


def _leave(state: VcpuState, mode: _Mode, *, wide: bool) -> int | GuestException:
    """SYSRET to CPL 3; `wide` leads to 64-bit mode."""
    if not state.cr0 & CR0_PE:
        return INVALID_OPCODE
    if state.cpl or (wide and not is_canonical(state.rcx)):
        return GENERAL_PROTECTION
    selector = state.read_msr(MSR_STAR) >> 48
    if mode.long:
        state.rflags = state.r11 & _RETURNED_RFLAGS | RFLAGS_RESERVED_1
    else:
        state.rflags |= RFLAGS_IF
    if wide:
        _load_segments(state, selector + 16, CODE_64, rpl=_USER, stack=selector + 8)
    else:
        _load_segments(state, selector, CODE_32, rpl=_USER)
    state.rip = state.rcx if wide else state.rcx & _MASK32
    return 0


def _load_segments(state: VcpuState, selector: int, access: int, *, rpl: int, stack: int | None = None) -> None:
    """Flat segments, whatever the GDT says: CS, and SS at `stack`, by default behind it."""
    level = _DPL_3 if rpl == _USER else 0
    stack = selector + 8 if stack is None else stack
    state.set_segment("ss", SegmentRegister(stack & 0xFFFC | rpl, 0, _4_GIB, DATA_32 | level))
    state.set_segment("cs", SegmentRegister(selector & 0xFFFC | rpl, 0, _4_GIB, access | level))
