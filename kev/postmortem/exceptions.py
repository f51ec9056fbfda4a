"""Exceptions in words: what was raised, and why it could not be delivered."""

from typing import Any, Final

import attrs

from kev import x86
from kev.engine.registers import DescriptorTable, RaisedEvent, SegmentRegister
from kev.postmortem.loaded_memory import LoadedMemory, Unreadable
from kev.postmortem.places import Place
from kev.postmortem.registers import VcpuRegisters

_NAMES: Final = (
    *("divide error", "debug", "NMI", "breakpoint", "overflow", "bound range exceeded", "invalid opcode"),
    *("device not available", "double fault", "coprocessor segment overrun", "invalid TSS", "segment not present"),
    *("stack-segment fault", "general protection", "page fault", "reserved", "x87 error", "alignment check"),
    *("machine check", "SIMD error", "virtualization", "control protection"),
)
"""By vector (SDM vol. 3, "Exception and interrupt reference")."""
_SEGMENT_RELATED: Final = (x86.INVALID_TSS, x86.SEGMENT_NOT_PRESENT, x86.STACK_FAULT, x86.GENERAL_PROTECTION)
_ERROR_LDT: Final = 1 << 2
_NULL: Final = 3
"""Selectors up to here are null."""
_GATE_PRESENT: Final = 1 << 7
_TASK_GATE: Final = 5
_IST_1: Final = 0x24
"""The offset of IST1 in a 64-bit TSS; RSP0 is at 4, as is ESP0 in a 32-bit one."""
_STACK_0: Final = 4


@attrs.frozen(slots=True, kw_only=True)
class ExceptionAt:
    """An exception, software interrupt or interrupt of a vCPU."""

    vector: int
    error_code: int | None
    address: int | None
    """CR2, of a page fault."""
    place: Place | None
    """The instruction that it came in; None for an interrupt."""
    instructions: int
    """Retired by then, where they are counted."""

    name: str
    """See `event_name`."""
    text: str
    """See `describe_event`."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "vector": self.vector,
            "name": self.name,
            "error_code": self.error_code,
            "address": self.address,
            "place": None if self.place is None else self.place.as_dict(),
            "instructions": self.instructions,
            "text": self.text,
        }


def event_name(event: RaisedEvent) -> str:
    """`exception 14 (page fault)`, or `interrupt 0x10`, which INT 10h raises as well."""
    vector = event.vector
    if event.rip is None or event.by_int or vector >= len(_NAMES):
        return f"interrupt {vector:#x}"
    return f"exception {vector} ({_NAMES[vector]})"


def describe_event(event: RaisedEvent) -> str:
    """`exception 14 (page fault) at 0x10, error code 0x2: write, not present, CPL 0`, or `interrupt 0x20`."""
    words = event_name(event)
    if event.address is not None:
        words += f" at {event.address:#x}"
    if event.error_code is None:
        return words
    return f"{words}, error code {event.error_code:#x}{_decoded(event.vector, event.error_code)}"


def exception_at(event: RaisedEvent, place: Place | None) -> ExceptionAt:
    """An event with the place that it came in."""
    return ExceptionAt(
        vector=event.vector,
        error_code=event.error_code,
        address=event.address,
        place=place,
        instructions=event.instructions,
        name=event_name(event),
        text=describe_event(event),
    )


def why_not_delivered(memory: LoadedMemory, registers: VcpuRegisters, vector: int) -> str | None:
    """What in a vCPU's tables stands in the way of an exception's delivery; None if nothing of what is looked at.

    SDM vol. 3, "Interrupt and exception handling".
    """
    if registers.efer & x86.EFER_LMA:
        gate_size = 16
    elif registers.cr0 & x86.CR0_PE:
        gate_size = 8
    else:
        gate_size = 4
    table = registers.idtr
    if gate_size != 4 and table == DescriptorTable(0, x86.REAL_MODE_IDT_LIMIT):
        return f"no IDT has been loaded: there is real mode's table at 0x0, with the limit {table.limit:#x}"
    if (vector + 1) * gate_size - 1 > table.limit:
        return f"the IDT's limit {table.limit:#x} is below the end of gate {vector}, {(vector + 1) * gate_size - 1:#x}"
    at = table.base + vector * gate_size
    try:
        gate = int.from_bytes(memory.read(registers, at, gate_size), "little")
    except Unreadable as unreadable:
        return f"gate {vector} of the IDT at {at:#x}: {unreadable}"
    if gate_size == 4:
        return None
    return _gate_problem(memory, registers, vector, gate, gate_size)


def _gate_problem(memory: LoadedMemory, registers: VcpuRegisters, vector: int, gate: int, gate_size: int) -> str | None:
    selector, kind = gate >> 16 & 0xFFFF, gate >> 40 & 0xFF
    if not kind & _GATE_PRESENT:
        return f"gate {vector} of the IDT is not present"
    if kind & 0x1F == _TASK_GATE:
        return None
    if selector <= _NULL:
        return f"gate {vector} of the IDT has a null selector"
    if not selector & 4 and selector | 7 > registers.gdtr.limit:
        return f"gate {vector} of the IDT has the selector {selector:#x}, the GDT the limit {registers.gdtr.limit:#x}"
    handler = gate & 0xFFFF | gate >> 32 & 0xFFFF0000
    if gate_size == 16:
        handler |= gate >> 32 & 0xFFFFFFFF_00000000
    problem = _unmapped(memory, registers, handler)
    if problem is not None:
        return f"the handler of gate {vector}: {problem}"
    return _stack_problem(memory, registers, gate >> 32 & 7 if gate_size == 16 else 0, selector & 3)


def _stack_problem(memory: LoadedMemory, registers: VcpuRegisters, ist: int, level: int) -> str | None:
    """What is wrong with the stack that a handler would get."""
    word = 8 if registers.efer & x86.EFER_LMA else 4
    task: SegmentRegister = registers.segments["tr"]
    if not ist and registers.cpl == level:
        name, stack = "the stack pointer", registers.linear("ss", registers.general["rsp"])
    else:
        name, offset = (f"IST{ist}", _IST_1 + 8 * (ist - 1)) if ist else ("the stack pointer of the TSS", _STACK_0)
        try:
            stack = memory.number(registers, task.base + offset, word)
        except Unreadable as unreadable:
            return f"{name} in the TSS at {task.base + offset:#x}: {unreadable}"
    problem = _unmapped(memory, registers, stack - word & (1 << 8 * word) - 1)
    return None if problem is None else f"{name} {stack:#x}: {problem}"


def _unmapped(memory: LoadedMemory, registers: VcpuRegisters, linear: int) -> str | None:
    try:
        memory.translate(registers, linear)
    except Unreadable as unreadable:
        return str(unreadable)
    return None


def _decoded(vector: int, error_code: int) -> str:
    if vector == x86.PAGE_FAULT:
        return f": {', '.join(_page_fault_words(error_code))}"
    if vector in _SEGMENT_RELATED and error_code:
        index = error_code >> 3
        if error_code & x86.ERROR_IDT:
            what = f"gate {index} of the IDT"
        else:
            what = f"selector {error_code & ~7:#x} of the {'LDT' if error_code & _ERROR_LDT else 'GDT'}"
        return f": {what}{', an external event' if error_code & x86.ERROR_EXTERNAL else ''}"
    return ""


def _page_fault_words(error_code: int) -> list[str]:
    fetch, write = error_code & x86.PAGE_FAULT_FETCH, error_code & x86.PAGE_FAULT_WRITE
    access = "fetch" if fetch else "write" if write else "read"
    present = "not allowed" if error_code & x86.PAGE_FAULT_PRESENT else "not present"
    words = [access, present, "CPL 3" if error_code & x86.PAGE_FAULT_USER else "CPL 0"]
    return [*words, "reserved bits"] if error_code & x86.PAGE_FAULT_RESERVED else words
