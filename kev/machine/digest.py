"""What a machine holds, in few words: to see whether two runs are the same, or whether one comes to the same state again."""

from typing import Final, TypeAlias
from zlib import crc32

from kev.addressing import Gpa
from kev.engine.registers import GENERAL, SEGMENTS
from kev.machine.vcpu import Vcpu
from kev.machine.vm import Vm
from kev.pager.pages import PageState

Registers: TypeAlias = tuple[object, ...]

_GENERAL: Final = (*GENERAL, "rip")
_SYSTEM: Final = ("rflags", "cr0", "cr2", "cr3", "cr4", "efer", "dr0", "dr1", "dr2", "dr3", "dr6", "dr7", "gdtr", "idtr")


def general_registers(vcpu: Vcpu) -> Registers:
    """What nearly always differs if anything does: the general registers and RIP."""
    state = vcpu.state
    return tuple(getattr(state, name) for name in _GENERAL)


def all_registers(vcpu: Vcpu) -> Registers:
    """All that can be read of a vCPU, and what waits for it."""
    state = vcpu.state
    return (
        vcpu.activity,
        *general_registers(vcpu),
        *(getattr(state, name) for name in _SYSTEM),
        *(state.segment(name) for name in SEGMENTS),
        state.read_fpu(),
        state.read_events(),
        state.random_numbers,
    )


def memory_checksum(vm: Vm) -> int:
    """CRC-32 of the addresses and the contents of all pages that are there."""
    checksum = 0
    memory = vm.pager.memory
    for run in vm.pager.pages.runs(PageState.PRESENT):
        for page in run:
            hpa = vm.pager.gpa2hpa(Gpa(page))
            if hpa is not None and hpa < memory.size:
                checksum = crc32(memory.page(hpa), crc32(page.to_bytes(8, "little"), checksum))
    return checksum
