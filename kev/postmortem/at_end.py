"""Where vCPUs are at the end of a run, a line each: little of what is known of a death has to be imported for that."""

from typing import Final

import attrs

from kev.pager.kernel import KernelVmPager
from kev.postmortem.loaded_memory import LoadedMemory
from kev.postmortem.places import Place, Places
from kev.postmortem.registers import VcpuRegisters

ACTIVE: Final = "active"
"""The activity of a vCPU that was executing."""


@attrs.frozen(slots=True, kw_only=True)
class VcpuAtEnd:
    """What the machine knows of a vCPU."""

    registers: VcpuRegisters
    activity: str = ACTIVE
    started: bool = True
    halted: bool = False
    """RIP is behind the HLT that it is in."""
    triple_fault: bool = False
    """It could not deliver an exception, nor the double fault after it."""


def line_of(vcpu: VcpuAtEnd, place: Place) -> str:
    """`vCPU 0 at RIP 0x100a3c in main+0x12 (main.c:34), halted with interrupts off`."""
    registers = vcpu.registers
    if not vcpu.started:
        return f"vCPU {registers.index} {vcpu.activity}"
    name = f" in {place.text}" if place.text else ""
    activity = "" if vcpu.activity == ACTIVE else f", {vcpu.activity}"
    return f"vCPU {registers.index} at RIP {registers.rip:#x}{name}{activity}"


def place_of(pager: KernelVmPager, places: Places, registers: VcpuRegisters, *, halted: bool = False) -> Place:
    """The place of a vCPU's next instruction; of one that is halted, of its HLT, behind which may be another function."""
    address = registers.linear_rip
    return places.executed(address, LoadedMemory(pager).try_translate(registers, address), halted=halted)
