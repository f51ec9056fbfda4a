"""Tells of every access that instructions make to memory: hooks of the emulated CPU, which make it slow."""

from kev.addressing import Hpa
from kev.engine.amdv.host import DATA_ALIAS
from kev.engine.amdv.libunicorn import WRITE, EmulatedCpu
from kev.engine.amdv.slice import Slice
from kev.engine.base import AccessObserver, InstructionObserver
from kev.exits import Access


def trace_accesses(uc: EmulatedCpu, slice: Slice, observer: AccessObserver, instructions: InstructionObserver | None) -> None:
    """Tells `observer` of accesses in counted slices, from now on, and `instructions` of what is executed."""
    here = 0

    def before_instruction(_uc: int, address: int, size: int, _data: object) -> None:
        nonlocal here
        here = address
        if instructions is not None:
            vcpu = slice.vcpu
            if vcpu is not None and vcpu.in_guest_mode:
                instructions(vcpu, address, size)

    def before_access(_uc: int, kind: int, address: int, size: int, value: int, _data: object) -> None:
        vcpu = slice.vcpu
        if vcpu is not None and vcpu.in_guest_mode:
            access = Access.WRITE if kind == WRITE else Access.READ
            observer(vcpu, here, Hpa(address & ~DATA_ALIAS), size, access, value & (1 << 8 * size) - 1)

    uc.on_instructions(before_instruction)
    uc.on_access(0, (1 << 64) - 1, before_access)
    uc.flush_code()
