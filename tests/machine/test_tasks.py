"""What few kernels use any more: virtual-8086 mode, and tasks that the processor switches (Intel SDM vol. 3, "Task management")."""

import struct

import pytest

from kev.exits import Vmcall
from tests.machine.code import VMCALL, code
from tests.machine.cpu import STACK
from tests.machine.modes import CODE_32, DATA, GDT, IDT, PAGE_TABLES, PROTECTED, TASK, TSS, cpu_in, handler

PROGRAM = 0x5000
OTHER_TASK, OTHER_TSS = 0x48, 0x4100
VM, NT = 1 << 17, 1 << 14
GENERAL_PROTECTION = 13
SLICES = pytest.mark.parametrize("slice_length", [None, 1])


def pushes(*values: int) -> bytes:
    return b"".join(b"\x68" + struct.pack("<I", value) for value in values)


@SLICES
@pytest.mark.parametrize("sensitive", ["fa", "9c", "cd 21", "cf", "f4"], ids=["cli", "pushf", "int", "iret", "hlt"])
def test_a_monitor_of_virtual_8086_mode_finds_the_program_in_its_frame(sensitive: str, slice_length: int | None) -> None:
    segments = 0x111, 0x222, 0x333, 0x444  # ES DS FS GS
    enter = pushes(*reversed(segments), 0x900, 0xF00, VM | 2, PROGRAM >> 4, 0) + code("cf ; iret")
    program = code("8c c8 ; mov ax, cs") + code(sensitive)
    with cpu_in(PROTECTED, enter, {PROGRAM: program}) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert cpu.vcpu.rip == handler(GENERAL_PROTECTION)
        error, *frame = (cpu.read(cpu.vcpu.rsp + 4 * index, 4) for index in range(10))
        ip, cs, flags, sp, ss, *found = frame
        assert (error, ip, cs, sp, ss) == (0, 2, PROGRAM >> 4, 0xF00, 0x900)
        assert flags & VM
        assert tuple(found) == segments
        assert cpu.vcpu.rax & 0xFFFF == PROGRAM >> 4
        assert cpu.vcpu.rsp == STACK - 40


def other_task() -> dict[int, bytes]:
    """A second task, which begins at PROGRAM, and the page tables of the first, which no processor saves."""
    state = bytearray(0x68)
    struct.pack_into("<III", state, 0x1C, PAGE_TABLES, PROGRAM, 2)
    struct.pack_into("<I", state, 0x38, STACK - 0x400)
    struct.pack_into("<6I", state, 0x48, DATA, CODE_32, DATA, DATA, DATA, DATA)
    descriptor = 0x8900 << 32 | OTHER_TSS << 16 | 0x67
    page_tables = struct.pack("<I", PAGE_TABLES)
    return {OTHER_TSS: bytes(state), GDT + OTHER_TASK: descriptor.to_bytes(8, "little"), TSS + 0x1C: page_tables}


def task_gate(vector: int) -> dict[int, bytes]:
    return {IDT + 8 * vector: struct.pack("<HHHH", 0, OTHER_TASK, 0xE500, 0)}


@SLICES
@pytest.mark.parametrize("instruction", ["9a", "ea"], ids=["call", "jmp"])
def test_a_task_is_switched_to_and_back(instruction: str, slice_length: int | None) -> None:
    """By IRET, or by a jump: the first task goes on with its registers."""
    there = code("bb 07 00 00 00 ; mov ebx, 7") + code(instruction) + struct.pack("<IH", 0, OTHER_TASK) + VMCALL
    back = code("cf ; iret") if instruction == "9a" else code("ea") + struct.pack("<IH", 0, TASK)
    with cpu_in(PROTECTED, there, {**other_task(), PROGRAM: code("bb 08 00 00 00 ; mov ebx, 8") + back}) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert cpu.vcpu.rbx == 7
        assert cpu.read(OTHER_TSS + 0x34, 4) == 8
        assert cpu.read(OTHER_TSS, 2) == (TASK if instruction == "9a" else 0)
        assert not cpu.vcpu.rflags & NT


@SLICES
def test_an_exception_through_a_task_gate_brings_its_error_code(slice_length: int | None) -> None:
    text = code("66 b8 38 00 8e e8 ; mov gs, a segment that is not present")
    program = code("5b ; pop ebx") + VMCALL
    with cpu_in(PROTECTED, text, {**other_task(), **task_gate(11), PROGRAM: program}) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert (cpu.vcpu.rip, cpu.vcpu.rbx) == (PROGRAM + 1, 0x38)
        assert cpu.vcpu.rflags & NT
