"""Exceptions in words, and why they were not delivered."""

import pytest

from kev.engine.registers import RaisedEvent
from kev.postmortem.exceptions import describe_event, why_not_delivered
from kev.postmortem.loaded_memory import LoadedMemory
from kev.postmortem.registers import VcpuRegisters
from tests.page_tables.guest_memory import LARGE, RW
from tests.postmortem.guest_memory import pager_with, vcpu, words

IDT, PML4, PDPT, PD, TSS = 0x1000, 0x2000, 0x3000, 0x4000, 0x5000
HANDLER, STACK = 0x6000, 0x8000
PAGING = {PML4: words(PDPT | RW), PDPT: words(PD | RW), PD: words(LARGE | RW)}
"""The first 2 MiB at their physical addresses."""
CR0 = 1 << 31 | 1


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (RaisedEvent(6, None, None, 0x1000, 0), "exception 6 (invalid opcode)"),
        (RaisedEvent(8, 0, None, 0x1000, 0), "exception 8 (double fault), error code 0x0"),
        (
            RaisedEvent(14, 2, 0x10, 0x1000, 0),
            "exception 14 (page fault) at 0x10, error code 0x2: write, not present, CPL 0",
        ),
        (
            RaisedEvent(14, 0x15, 0x10, 0x1000, 0),
            "exception 14 (page fault) at 0x10, error code 0x15: fetch, not allowed, CPL 3",
        ),
        (
            RaisedEvent(14, 9, 0x10, 0x1000, 0),
            "exception 14 (page fault) at 0x10, error code 0x9: read, not allowed, CPL 0, reserved bits",
        ),
        (RaisedEvent(13, 0, None, 0x1000, 0), "exception 13 (general protection), error code 0x0"),
        (
            RaisedEvent(13, 0x33, None, 0x1000, 0),
            "exception 13 (general protection), error code 0x33: gate 6 of the IDT, an external event",
        ),
        (RaisedEvent(11, 0x2C, None, 0x1000, 0), "exception 11 (segment not present), error code 0x2c: selector 0x28 of the LDT"),
        (RaisedEvent(10, 0x28, None, 0x1000, 0), "exception 10 (invalid TSS), error code 0x28: selector 0x28 of the GDT"),
        (RaisedEvent(0x80, None, None, 0x1000, 0), "interrupt 0x80"),
        (RaisedEvent(0x10, None, None, 0x1000, 0, by_int=True), "interrupt 0x10"),
        (RaisedEvent(14, None, None, None, 0), "interrupt 0xe"),
    ],
)
def test_an_event_in_words(event: RaisedEvent, text: str) -> None:
    assert describe_event(event) == text


def gate(handler: int = HANDLER, selector: int = 8, kind: int = 0x8E, ist: int = 0) -> bytes:
    """A gate of 16 bytes."""
    low = handler & 0xFFFF | selector << 16 | ist << 32 | kind << 40 | (handler >> 16 & 0xFFFF) << 48
    return words(low, handler >> 32)


def why(gates: dict[int, bytes], registers: VcpuRegisters, vector: int = 14) -> str | None:
    contents = {IDT: bytes(0x200), TSS: words(*range(16)), **PAGING} | {IDT + 16 * number: data for number, data in gates.items()}
    return why_not_delivered(LoadedMemory(pager_with(contents)), registers, vector)


def in_long_mode(**registers: object) -> VcpuRegisters:
    return vcpu(**{"cr0": CR0, "cr3": PML4, "cr4": 1 << 5, "idt": (IDT, 0x1FF), "rsp": STACK, "bases": {"tr": TSS}} | registers)  # type: ignore[arg-type]


def test_nothing_is_wrong_with_a_gate_that_leads_to_a_handler() -> None:
    assert why({14: gate()}, in_long_mode()) is None


def test_a_gate_behind_the_limit() -> None:
    assert why({}, in_long_mode(idt=(IDT, 0xEE))) == "the IDT's limit 0xee is below the end of gate 14, 0xef"


def test_a_table_that_is_not_mapped() -> None:
    found = why({}, in_long_mode(idt=(0x4000_0000, 0x1FF)))
    assert found == "gate 14 of the IDT at 0x400000e0: 0x400000e0 is not mapped by the guest"


def test_a_gate_that_is_not_present() -> None:
    assert why({}, in_long_mode()) == "gate 14 of the IDT is not present"


@pytest.mark.parametrize(
    ("selector", "problem"),
    [
        (0, "gate 14 of the IDT has a null selector"),
        (0x40, "gate 14 of the IDT has the selector 0x40, the GDT the limit 0x3f"),
    ],
)
def test_a_selector_of_no_code_segment(selector: int, problem: str) -> None:
    assert why({14: gate(selector=selector)}, in_long_mode(gdt=(0, 0x3F))) == problem


def test_a_handler_that_is_not_mapped() -> None:
    handler = 0xFFFF_8000_0000_1000
    assert why({14: gate(handler)}, in_long_mode()) == f"the handler of gate 14: {handler:#x} is not mapped by the guest"


def test_a_stack_that_is_not_mapped() -> None:
    assert why({14: gate()}, in_long_mode(rsp=0x4000_0000)) is not None
    assert why({14: gate()}, in_long_mode(rsp=0x40_0010)) == "the stack pointer 0x400010: 0x400008 is not mapped by the guest"


def test_the_stack_of_the_task_state_segment() -> None:
    memory = {TSS + 4: words(0x5000_0000), TSS + 0x24: words(0x6000_0000)}
    pager = pager_with({IDT + 16 * 14: gate(), IDT + 16 * 8: gate(ist=1), **PAGING, **memory})
    registers = in_long_mode(cpl=3)
    reasons = [why_not_delivered(LoadedMemory(pager), registers, vector) for vector in (14, 8)]
    assert reasons == [
        "the stack pointer of the TSS 0x50000000: 0x4ffffff8 is not mapped by the guest",
        "IST1 0x60000000: 0x5ffffff8 is not mapped by the guest",
    ]


def test_in_real_mode_only_the_limit_counts() -> None:
    memory = LoadedMemory(pager_with({0: bytes(0x400)}))
    assert why_not_delivered(memory, vcpu(bits=16, idt=(0, 0x3FF)), 6) is None
    assert why_not_delivered(memory, vcpu(bits=16, idt=(0, 0)), 6) == "the IDT's limit 0x0 is below the end of gate 6, 0x1b"
