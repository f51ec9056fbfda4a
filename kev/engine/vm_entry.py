"""How hypervisors that run their guests under VMX enter one in real mode."""

from typing import Final

from kev.engine.base import EntryState
from kev.engine.registers import SegmentRegister
from kev.x86 import CR0_REAL_MODE, CR4_VMXE, DATA_16, REAL_MODE_IDT_LIMIT, REAL_MODE_LIMIT

_GDT_LIMIT: Final = 0x30
_SEGMENT: Final = SegmentRegister(0, 0, REAL_MODE_LIMIT, DATA_16)
"""Of every segment register, CS too, which VMX allows to an unrestricted guest in real mode."""


def real_mode_vm_entry(rip: int) -> EntryState:
    """What the JOS VMM and JOS-vmx put into the guest-state area: 0 in all general registers, interrupts off, CR4.VMXE.

    CR0 is NE, and ET, which reads as 1 whatever a VM entry loads.
    """
    return EntryState(
        rip=rip,
        cs=_SEGMENT,
        data=_SEGMENT,
        cr0=CR0_REAL_MODE,
        cr4=CR4_VMXE,
        idt_limit=REAL_MODE_IDT_LIMIT,
        gdt_limit=_GDT_LIMIT,
    )
