"""LGDT, LIDT, LLDT and LTR: what they load, and what they refuse."""

import struct

import attrs
import pytest

from kev.addressing import PAGE_SIZE, Gpa, page_floor
from kev.engine.registers import DescriptorTable, SegmentRegister
from kev.exits import EptViolation, Exit, MmioRead, Reply, Vmcall
from tests.machine.code import VMCALL, code
from tests.machine.cpu import Cpu
from tests.machine.modes import (
    ABSENT_PAGE,
    GDT,
    LONG,
    LONG_USER,
    PROTECTED,
    PROTECTED_USER,
    REAL,
    TEXT,
    Delivery,
    Mode,
    cpu_in,
    delivery,
)

OPERAND, SELECTOR = 0x5000, 0x60
LARGER_TABLE = struct.pack("<HI", 0x7F, GDT)
TABLE_REGISTER = 0x2FF0
"""Where the GDTR is loaded from that the code begins with."""
TSS_16, LDT, TSS, BUSY_TSS = 0x81, 0x82, 0x89, 0x8B
BASE = 0x1234_5000
LLDT, LTR = "0f 00 d0", "0f 00 d8"
LLDT_MEMORY, LTR_MEMORY = "0f 00 17", "0f 00 1f"

SLICES = pytest.mark.parametrize("slice_length", [None, 1])
KERNEL = pytest.mark.parametrize("mode", [PROTECTED, LONG], ids=lambda mode: mode.name)
INSTRUCTIONS = pytest.mark.parametrize(("text", "access"), [(LLDT, LDT), (LTR, TSS)], ids=["LLDT", "LTR"])


def edi(value: int) -> bytes:
    return b"\xbf" + struct.pack("<I", value)


def load_ax(selector: int, text: str) -> bytes:
    return code("66 b8") + struct.pack("<H", selector) + code(text)


def descriptor(access: int, base: int = BASE, limit: int = 0x67, *, flags: int = 0) -> bytes:
    low = struct.pack(
        "<HHBBBB", limit & 0xFFFF, base & 0xFFFF, base >> 16 & 0xFF, access, flags << 4 | limit >> 16, base >> 24 & 0xFF
    )
    return low + struct.pack("<II", base >> 32, 0)


def with_descriptor(mode: Mode, text: bytes, entry: bytes) -> Cpu:
    return cpu_in(mode, text + VMCALL, {GDT + SELECTOR: entry, TABLE_REGISTER: LARGER_TABLE})


def refusal(mode: Mode, text: bytes, entry: bytes, slice_length: int | None = None) -> Delivery:
    with with_descriptor(mode, text, entry) as cpu:
        found = delivery(cpu, mode, cpu.run(slice_length), error_code=True)
    return attrs.evolve(found, cs=0, rflags=0, rsp=None, ss=None)


@SLICES
@pytest.mark.parametrize("pages", ["lazy", "awaited"])
@pytest.mark.parametrize(
    ("mode", "prefix", "base", "loaded"),
    [
        (REAL, "", 0x8765_4321, 0x65_4321),
        (REAL, "66", 0x8765_4321, 0x8765_4321),
        (PROTECTED, "", 0x8765_4321, 0x8765_4321),
        (PROTECTED, "66", 0x8765_4321, 0x65_4321),
        (LONG, "", 0xFFFF_8765_4321_0000, 0xFFFF_8765_4321_0000),
        (LONG, "66", 0xFFFF_8765_4321_0000, 0xFFFF_8765_4321_0000),
    ],
    ids=lambda value: value.name if isinstance(value, Mode) else None,
)
def test_a_table_register_has_the_base_of_its_mode(
    mode: Mode, prefix: str, base: int, loaded: int, pages: str, slice_length: int | None
) -> None:
    operand = struct.pack("<HQ", 0x4321, base)
    text = code(f"{prefix} 0f 01 16 00 50") if mode is REAL else edi(OPERAND) + code(f"{prefix} 0f 01 17")
    with cpu_in(mode, text + VMCALL, {OPERAND: operand}) as cpu:
        cpu.awaits_pages = pages == "awaited"
        assert cpu.run(slice_length) == Vmcall()
        assert cpu.vcpu.gdtr == DescriptorTable(loaded, 0x4321)


@SLICES
@KERNEL
def test_a_page_fault_comes_before_anything_is_loaded(mode: Mode, slice_length: int | None) -> None:
    for text in ("0f 01 17", LLDT_MEMORY, LTR_MEMORY):
        with cpu_in(mode, edi(ABSENT_PAGE) + code(text)) as cpu:
            found = delivery(cpu, mode, cpu.run(slice_length), error_code=True)
            assert (found.vector, found.error_code, found.rip, cpu.vcpu.cr2) == (14, 0, TEXT + 5, ABSENT_PAGE)


def test_a_register_is_no_operand_of_lgdt() -> None:
    with cpu_in(LONG, code("0f 01 d7 ; lgdt edi")) as cpu:
        assert delivery(cpu, LONG, cpu.run(), error_code=False).vector == 6


@pytest.mark.parametrize("mode", [PROTECTED_USER, LONG_USER], ids=lambda mode: mode.name)
@pytest.mark.parametrize("text", ["0f 01 17", "0f 01 1f", LLDT, LTR])
def test_programs_may_not(mode: Mode, text: str) -> None:
    with cpu_in(mode, edi(OPERAND) + code(text)) as cpu:
        found = delivery(cpu, mode, cpu.run(), error_code=True)
        assert (found.vector, found.error_code, found.rip) == (13, 0, TEXT + 5)


@SLICES
@KERNEL
@pytest.mark.parametrize("in_memory", [False, True], ids=["register", "memory"])
def test_a_task_is_loaded_and_busy(mode: Mode, in_memory: bool, slice_length: int | None) -> None:
    base = BASE | (0xFFFF_8000 << 32 if mode.long else 0)
    text = edi(OPERAND) + code(LTR_MEMORY) if in_memory else load_ax(SELECTOR, LTR)
    with with_descriptor(mode, text, descriptor(TSS, base, 0x2067)) as cpu:
        cpu.page(OPERAND)[:2] = struct.pack("<H", SELECTOR)
        assert cpu.run(slice_length) == Vmcall()
        assert (cpu.vcpu.segment("tr").selector, *cpu.vcpu.segment("tr")[1:3]) == (SELECTOR, base, 0x2067)
        assert cpu.page(GDT)[SELECTOR + 5] == BUSY_TSS


@SLICES
@KERNEL
def test_a_local_table_is_loaded(mode: Mode, slice_length: int | None) -> None:
    base = BASE | (0xFFFF_8000 << 32 if mode.long else 0)
    with with_descriptor(mode, load_ax(SELECTOR | 3, LLDT), descriptor(LDT, base, 1, flags=8)) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert cpu.vcpu.segment("ldtr") == SegmentRegister(SELECTOR | 3, base, 0x1FFF, 0x8082)


@KERNEL
def test_a_null_selector_is_a_local_table_without_entries_and_no_task(mode: Mode) -> None:
    with with_descriptor(mode, load_ax(3, LLDT), b"") as cpu:
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.segment("ldtr") == SegmentRegister(3, 0, 0, 0)
    assert refusal(mode, load_ax(3, LTR), b"") == Delivery(vector=13, rip=TEXT + 4, cs=0, rflags=0, error_code=0)


@SLICES
@KERNEL
@INSTRUCTIONS
@pytest.mark.parametrize("what", ["local table", "behind the table", "type", "absent", "absent and of another type"])
def test_what_is_no_such_descriptor_is_refused(mode: Mode, text: str, access: int, what: str, slice_length: int | None) -> None:
    selector = {"local table": SELECTOR | 4, "behind the table": 0x80}.get(what, SELECTOR)
    found = {"type": BUSY_TSS, "absent": access & 0x7F, "absent and of another type": 0x0C}.get(what, access)
    expected = Delivery(vector=11 if what == "absent" else 13, rip=TEXT + 4, cs=0, rflags=0, error_code=selector)
    assert refusal(mode, load_ax(selector, text), descriptor(found), slice_length) == expected


@SLICES
@INSTRUCTIONS
@pytest.mark.parametrize("entry", ["not canonical", "upper type"])
def test_in_ia_32e_mode_the_upper_half_counts(text: str, access: int, entry: str, slice_length: int | None) -> None:
    changed = bytearray(descriptor(access, 1 << 47 if entry == "not canonical" else BASE))
    if entry == "upper type":
        changed[13] = 1
    expected = Delivery(vector=13, rip=TEXT + 4, cs=0, rflags=0, error_code=SELECTOR)
    assert refusal(LONG, load_ax(SELECTOR, text), bytes(changed), slice_length) == expected


def test_a_task_of_16_bits_is_one_outside_of_ia_32e_mode_only() -> None:
    with with_descriptor(PROTECTED, load_ax(SELECTOR, LTR), descriptor(TSS_16)) as cpu:
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.segment("tr").selector == SELECTOR
    assert refusal(LONG, load_ax(SELECTOR, LTR), descriptor(TSS_16)).vector == 13


def test_operands_may_be_in_device_memory() -> None:
    def map_device(exit: Exit) -> Reply | None:
        assert isinstance(exit, EptViolation)
        if page_floor(exit.gpa) != OPERAND:
            return cpu.map_page(exit)
        cpu.table.map_page(Gpa(OPERAND), cpu.engine.map_window(Gpa(OPERAND), PAGE_SIZE))
        return 0

    def load(exit: Exit) -> Reply:
        assert isinstance(exit, MmioRead)
        return SELECTOR if exit.size == 2 else GDT

    answers = {EptViolation: map_device, MmioRead: load}
    text = edi(OPERAND) + code("0f 00 1f 0f 01 17 ; ltr [rdi]; lgdt [rdi]")
    contents = {GDT + SELECTOR: descriptor(TSS), TABLE_REGISTER: LARGER_TABLE}
    with cpu_in(LONG, text + VMCALL, contents, answers=answers) as cpu:
        assert cpu.run() == Vmcall()
        assert (cpu.vcpu.segment("tr").base, cpu.vcpu.gdtr) == (BASE, DescriptorTable(GDT, SELECTOR))
        assert cpu.told(MmioRead) == [MmioRead(Gpa(OPERAND), 2), MmioRead(Gpa(OPERAND), 2), MmioRead(Gpa(OPERAND + 2), 8)]


@pytest.mark.parametrize("text", ["0f 01 17 ; lgdt [edi]", "0f 00 1f ; ltr [edi]"])
def test_an_instruction_that_has_to_await_its_operand_counts_once(text: str) -> None:
    contents = {GDT + SELECTOR: descriptor(TSS), TABLE_REGISTER: LARGER_TABLE, OPERAND: struct.pack("<HI", SELECTOR, GDT)}
    counts = []
    for awaits_pages in (False, True):
        with cpu_in(PROTECTED, edi(OPERAND) + code(text) + VMCALL, contents) as cpu:
            cpu.awaits_pages = awaits_pages
            assert cpu.run(3) == Vmcall()
            counts.append(cpu.vcpu.instructions)
    assert counts[0] == counts[1]
