"""IRET and far returns of programs at CPL 3, while CR4.SMAP keeps the kernel from their pages."""

import struct

import pytest

from kev.exits import Vmcall
from tests.machine.code import VMCALL, code
from tests.machine.cpu import Cpu
from tests.machine.modes import (
    ABSENT_PAGE,
    LONG,
    PAGE_TABLES,
    PROTECTED,
    USER_CODE_32,
    USER_CODE_64,
    USER_DATA,
    USER_STACK,
    Mode,
    cpu_in,
    delivery,
    handler,
)

USER_TEXT = 0x9000
TARGET = USER_TEXT + 0x100
STACK_PAGE = USER_STACK - 0x1000
SLICES = pytest.mark.parametrize("slice_length", [None, 1, 1000])
KERNEL = pytest.mark.parametrize("mode", [PROTECTED, LONG], ids=lambda mode: mode.name)
MOV_AL_USER = code("a0") + struct.pack("<I", STACK_PAGE)
UD2 = code("0f 0b")
INVALID_OPCODE, PAGE_FAULT = 6, 14
TF = 1 << 8


def pushes(*values: int) -> bytes:
    return b"".join(b"\x68" + struct.pack("<I", value) for value in values)


def machine(mode: Mode, program: bytes, target: bytes = VMCALL, handlers: dict[int, bytes] | None = None) -> Cpu:
    """A CPU whose kernel sets CR4.SMAP and goes to `program` at USER_TEXT. All pages but the program's are the kernel's."""
    kernel = code("0f 20 e0 0d 00 00 20 00 0f 22 e0 ; mov eax, cr4; or eax, SMAP; mov cr4, eax")
    kernel += pushes(USER_DATA, USER_STACK, 2, user_code(mode), USER_TEXT) + iret(mode)
    user_pages = {USER_TEXT: 7, STACK_PAGE: 7, ABSENT_PAGE: 0}
    entries = [page | user_pages.get(page, 3) for page in range(0, 1 << 20, 0x1000)]
    entries = [entry if entry & 1 else 0 for entry in entries]
    where, size = (PAGE_TABLES + 0x3000, "Q") if mode.long else (PAGE_TABLES + 0x1000, "I")
    contents = {where: struct.pack(f"<256{size}", *entries), USER_TEXT: program, TARGET: target}
    return cpu_in(mode, kernel, {**contents, **{handler(vector): text for vector, text in (handlers or {}).items()}})


def user_code(mode: Mode) -> int:
    return USER_CODE_64 if mode.long else USER_CODE_32


def iret(mode: Mode) -> bytes:
    return code("48 cf") if mode.long else code("cf")


def iret_within_the_program(mode: Mode, rflags: int = 2) -> bytes:
    frame = (USER_DATA, USER_STACK - 0x80) if mode.long else ()
    return pushes(*frame, rflags, user_code(mode), TARGET) + iret(mode)


@SLICES
@KERNEL
@pytest.mark.parametrize("kind", ["iret", "retf", "retf 16"])
def test_they_read_the_programs_stack(mode: Mode, kind: str, slice_length: int | None) -> None:
    wide = code("48") if mode.long else b""
    program = {
        "iret": iret_within_the_program(mode),
        "retf": pushes(user_code(mode), TARGET) + wide + code("cb"),
        "retf 16": pushes(0, 0, user_code(mode), TARGET) + wide + code("ca 10 00"),
    }[kind]
    with machine(mode, program) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert (cpu.vcpu.rip, cpu.vcpu.cpl) == (TARGET, 3)
        if slice_length is not None:
            count = cpu.vcpu.instructions
            with machine(mode, program) as again:
                assert again.run(7) == Vmcall()
                assert again.vcpu.instructions == count


@SLICES
@KERNEL
def test_smap_holds_for_the_kernel_behind_them(mode: Mode, slice_length: int | None) -> None:
    target = code("b3 05 ; mov bl, 5") + UD2
    read_user_page = MOV_AL_USER if not mode.long else code("8a 04 25") + struct.pack("<I", STACK_PAGE)
    with machine(mode, iret_within_the_program(mode), target, {INVALID_OPCODE: read_user_page}) as cpu:
        found = delivery(cpu, mode, cpu.run(slice_length), error_code=True)
        assert (found.vector, found.error_code, found.rip) == (PAGE_FAULT, 1, handler(INVALID_OPCODE))
        assert cpu.vcpu.rbx & 0xFF == 5


@SLICES
@KERNEL
def test_smap_holds_for_the_kernel_if_they_raise_an_exception(mode: Mode, slice_length: int | None) -> None:
    """The selector is that of no segment."""
    program = pushes(USER_DATA, USER_STACK, 2, 0xFFF3, TARGET) + iret(mode)
    read_user_page = MOV_AL_USER if not mode.long else code("8a 04 25") + struct.pack("<I", STACK_PAGE)
    with machine(mode, program, handlers={13: read_user_page}) as cpu:
        found = delivery(cpu, mode, cpu.run(slice_length), error_code=True)
        assert (found.vector, found.error_code, found.rip) == (PAGE_FAULT, 1, handler(13))


@SLICES
@KERNEL
def test_single_steps_begin_behind_an_iret_that_asks_for_them(mode: Mode, slice_length: int | None) -> None:
    with machine(mode, iret_within_the_program(mode, 2 | TF), code("90 90 ; nop; nop")) as cpu:
        found = delivery(cpu, mode, cpu.run(slice_length), error_code=False)
        assert (found.vector, found.rip) == (1, TARGET + 1)
        assert found.rflags & TF


@SLICES
@KERNEL
def test_a_program_that_steps_itself_traps_behind_its_far_return(mode: Mode, slice_length: int | None) -> None:
    program = pushes(user_code(mode), TARGET, 2 | TF) + code("9d ; popf") + (code("48") if mode.long else b"") + code("cb")
    with machine(mode, program) as cpu:
        found = delivery(cpu, mode, cpu.run(slice_length), error_code=False)
        assert (found.vector, found.rip) == (1, TARGET)
        assert found.rflags & TF


@SLICES
@KERNEL
def test_a_stack_that_is_not_there_is_a_page_fault_of_the_program(mode: Mode, slice_length: int | None) -> None:
    program = code("bc") + struct.pack("<I", ABSENT_PAGE) + iret(mode)
    with machine(mode, program) as cpu:
        found = delivery(cpu, mode, cpu.run(slice_length), error_code=True)
        assert (found.vector, found.error_code, found.rip) == (PAGE_FAULT, 4, USER_TEXT + 5)
        assert cpu.vcpu.cr2 == ABSENT_PAGE
