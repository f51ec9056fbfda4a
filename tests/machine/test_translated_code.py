"""Instructions that change after they were executed, by whatever way, are executed as they are then."""

import struct

import pytest

from kev.addressing import Gpa
from kev.engine.base import Budget
from kev.exits import Exit, IoOut, Vmcall
from tests.machine.code import VMCALL, code
from tests.machine.cpu import Cpu
from tests.machine.modes import LONG, PAGE_TABLES, PROTECTED, TEXT, Mode, cpu_in

ROUTINES = 0x40000
"""Two routines that load a number into EAX: here and half a page further on."""
ALIAS = 0x41000
"""The same page, writable and execute-disabled."""
_ALIAS_ENTRY = {PAGE_TABLES + 0x3000 + (ALIAS >> 12) * 8: struct.pack("<Q", 1 << 63 | ROUTINES | 7)}

_ROUTINE = code("b8 00 00 00 00 c3 ; mov eax, 0; ret")
CONTENTS = {ROUTINES: _ROUTINE, ROUTINES + 0x800: _ROUTINE}

CALL_FIRST = code("bb 00 00 04 00 ff d3 ; mov ebx, ROUTINES; call rbx")
PORT = code("ba 80 00 00 00 ee ; mov edx, 0x80; out dx, al")


def through_alias(stores: str) -> bytes:
    """Two hundred times: stores ECX into both routines, calls them and counts down. Ends with ECX 0, or at a wrong number."""
    loop = code(f"""
        bf 00 10 04 00          ; mov edi, ALIAS
        {stores}
        bb 00 00 04 00          ; mov ebx, ROUTINES
        ff d3                   ; call rbx
        39 c8                   ; cmp eax, ecx
        75 14                   ; jne end
        81 c3 00 08 00 00       ; add ebx, 0x800
        ff d3                   ; call rbx
        39 c8                   ; cmp eax, ecx
        75 08                   ; jne end
        ff c9                   ; dec ecx
    """)
    again = code("0f 85") + struct.pack("<i", -(len(loop) + 6))  # jnz loop
    return code("b9 c8 00 00 00 ; mov ecx, 200") + loop + again + VMCALL


STORES = {
    "one by one": "89 4f 01 89 8f 01 08 00 00   ; mov [rdi + 1], ecx; mov [rdi + 0x801], ecx",
    "the other first": "89 8f 01 08 00 00 89 4f 01   ; mov [rdi + 0x801], ecx; mov [rdi + 1], ecx",
    "from the page's beginning": "c6 07 b8 89 4f 01 c6 47 05 c3 89 8f 01 08 00 00   ; mov byte [rdi], 0xb8; ...",
}


@pytest.mark.parametrize("slice_length", [None, 7])
@pytest.mark.parametrize("stores", STORES.values(), ids=STORES)
def test_what_is_written_through_an_execute_disabled_alias_is_executed(stores: str, slice_length: int | None) -> None:
    with cpu_in(LONG, through_alias(stores), {**CONTENTS, **_ALIAS_ENTRY}) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert cpu.vcpu.rcx == 0


def test_the_alias_may_be_there_before_the_page_was_ever_executed() -> None:
    with cpu_in(LONG, through_alias(STORES["one by one"]), {**CONTENTS, **_ALIAS_ENTRY}) as cpu:
        cpu.load_everything()
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.rcx == 0


def rewrite(cpu: Cpu, number: int) -> None:
    """What a device does that writes to memory."""
    struct.pack_into("<I", cpu.page(ROUTINES), 1, number)
    hpa = cpu.table.translate(ROUTINES)
    assert hpa is not None
    cpu.engine.written(hpa)


@pytest.mark.parametrize("mode", [PROTECTED, LONG], ids=lambda mode: mode.name)
def test_what_a_device_writes_between_two_slices_is_executed(mode: Mode) -> None:
    with cpu_in(mode, (CALL_FIRST + VMCALL) * 3, CONTENTS) as cpu:
        for number in (0, 7, 8):
            rewrite(cpu, number)
            exit = cpu.run()
            assert (exit, cpu.vcpu.rax) == (Vmcall(), number)
            cpu.engine.complete(cpu.vcpu, exit, 0)


@pytest.mark.parametrize("mode", [PROTECTED, LONG], ids=lambda mode: mode.name)
@pytest.mark.parametrize("budget", [Budget(seconds=3), Budget(instructions=3)], ids=["seconds", "instructions"])
def test_what_a_device_writes_while_it_is_told_to_is_executed(mode: Mode, budget: Budget) -> None:
    cpu: Cpu

    def write(exit: Exit) -> int:
        assert isinstance(exit, IoOut)
        rewrite(cpu, exit.value + 1)
        return 0

    with cpu_in(mode, CALL_FIRST + (PORT + CALL_FIRST) * 5 + VMCALL, CONTENTS, answers={IoOut: write}) as cpu:
        while cpu.run_slice(budget) != Vmcall():
            pass
        assert cpu.vcpu.rax == 5


@pytest.mark.parametrize("mode", [PROTECTED, LONG], ids=lambda mode: mode.name)
def test_a_page_that_was_unmapped_and_filled_otherwise_is_executed_as_it_is(mode: Mode) -> None:
    with cpu_in(mode, (CALL_FIRST + VMCALL) * 2, CONTENTS) as cpu:
        exit = cpu.run()
        assert cpu.vcpu.rax == 0
        page = cpu.page(ROUTINES)
        frame = cpu.table.unmap(Gpa(ROUTINES)).hpa
        cpu.engine.invalidate(Gpa(ROUTINES))
        struct.pack_into("<I", page, 1, 9)
        cpu.table.map_page(ROUTINES, frame)
        cpu.engine.complete(cpu.vcpu, exit, 0)
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.rax == 9
        assert cpu.vcpu.rip == TEXT + len(CALL_FIRST + VMCALL) + len(CALL_FIRST)
