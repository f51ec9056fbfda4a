"""A single step is one instruction, or one event that came before it: whatever the instruction."""

from collections.abc import Iterator

import pytest

from kev.engine.base import SINGLE_STEP, Budget
from kev.exits import Exit, GuestException, Hlt, PreemptionTimer, Vmcall
from tests.machine.code import VMCALL, code
from tests.machine.cpu import Cpu
from tests.machine.modes import (
    ABSENT_PAGE,
    EVERY_MODE,
    LONG,
    LONG_USER,
    PROTECTED,
    PROTECTED_USER,
    REAL,
    TEXT,
    Mode,
    cpu_in,
    handler,
)

_IF = 1 << 9
_VECTOR = 0x30
_UD2 = code("0f 0b")


def at_text(mode: Mode, text: bytes, *, rflags: int = 2, contents: dict[int, bytes] | None = None) -> Cpu:
    """A CPU that is about to execute `text`."""
    cpu = cpu_in(mode, text, contents, rflags=rflags)
    while cpu.vcpu.instruction_address != TEXT:
        cpu.run_slice(SINGLE_STEP)
    return cpu


def places(cpu: Cpu, steps: int) -> Iterator[int]:
    """Where the vCPU is after each step: behind the beginning of the text, or a handler's address."""
    for _ in range(steps):
        assert cpu.run_slice(SINGLE_STEP) == PreemptionTimer()
        address = cpu.vcpu.instruction_address
        yield address if address >= handler(0) else address - TEXT


@pytest.mark.parametrize("mode", EVERY_MODE, ids=lambda mode: mode.name)
def test_each_instruction_is_a_step(mode: Mode) -> None:
    with at_text(mode, code("90 40 90 eb 00 50 58")) as cpu:
        before = cpu.vcpu.instructions
        expected = [1, 3, 5, 6, 7] if mode.long and mode.cs != 0x23 else [1, 2, 3, 5, 6, 7]
        assert list(places(cpu, len(expected))) == expected
        assert cpu.vcpu.instructions == before + len(expected)


@pytest.mark.parametrize("mode", EVERY_MODE, ids=lambda mode: mode.name)
def test_a_step_over_a_fault_ends_at_its_handler(mode: Mode) -> None:
    with at_text(mode, _UD2) as cpu:
        assert list(places(cpu, 1)) == [handler(6)]


@pytest.mark.parametrize("mode", EVERY_MODE, ids=lambda mode: mode.name)
def test_a_step_over_a_software_interrupt_ends_at_its_handler(mode: Mode) -> None:
    with at_text(mode, code("cc")) as cpu:
        before = cpu.vcpu.instructions
        assert list(places(cpu, 1)) == [handler(3)]
        assert cpu.vcpu.instructions == before + 1


def test_a_step_over_a_page_fault_ends_at_its_handler_and_the_way_back_is_a_step() -> None:
    text = code("a1") + ABSENT_PAGE.to_bytes(4, "little") + code("90")
    # The handler drops the error code and skips the instruction.
    back = code("83 c4 04 83 04 24 05 cf ; add esp, 4; add dword [esp], 5; iret")
    with at_text(PROTECTED, text, contents={handler(14): back}) as cpu:
        assert list(places(cpu, 4)) == [handler(14), handler(14) + 3, handler(14) + 7, 5]


def test_instructions_that_exit_are_a_step_each() -> None:
    text = code("""
        0f a2       ; cpuid
        e6 80       ; out 0x80, al
        e4 80       ; in al, 0x80
        0f 31       ; rdtsc
        0f 20 c0    ; mov eax, cr0
        0f 22 c0    ; mov cr0, eax
        0f 20 e0    ; mov eax, cr4
        0f 22 e0    ; mov cr4, eax
        f3 90       ; pause
        90
    """)
    with at_text(PROTECTED, text) as cpu:
        assert list(places(cpu, 10)) == [2, 4, 6, 8, 11, 14, 17, 20, 22, 23]


def test_a_string_instruction_is_a_step_for_each_time_and_one_for_the_end() -> None:
    with at_text(PROTECTED, code("b9 03 00 00 00 bf 00 50 00 00 f3 aa 90 ; mov ecx, 3; mov edi, 0x5000; rep stosb; nop")) as cpu:
        assert list(places(cpu, 7)) == [5, 10, 10, 10, 10, 12, 13]
        assert cpu.vcpu.rdi == 0x5003


def test_a_step_over_hlt_says_so_and_is_past_it() -> None:
    with at_text(PROTECTED, code("f4 90")) as cpu:
        assert cpu.run_slice(SINGLE_STEP) == Hlt()
        assert list(places(cpu, 1)) == [2]


def test_a_hypercall_is_a_step() -> None:
    with cpu_in(PROTECTED, VMCALL + code("90"), answers={Vmcall: lambda _: 7}) as cpu:
        while cpu.vcpu.instruction_address != TEXT:
            cpu.run_slice(SINGLE_STEP)
        assert list(places(cpu, 2)) == [3, 4]
        assert cpu.vcpu.rax == 7


def test_an_interrupt_is_a_step_of_its_own() -> None:
    with at_text(PROTECTED, code("90 90"), rflags=2 | _IF) as cpu:
        before = cpu.vcpu.instructions
        cpu.engine.raise_interrupt(cpu.vcpu, _VECTOR)
        assert list(places(cpu, 1)) == [handler(_VECTOR)]
        assert cpu.vcpu.instructions == before
        assert cpu.engine.interrupt_taken(cpu.vcpu) == _VECTOR


def test_an_nmi_is_a_step_of_its_own() -> None:
    with at_text(PROTECTED, code("90 90")) as cpu:
        cpu.engine.raise_nmi(cpu.vcpu)
        assert list(places(cpu, 1)) == [handler(2)]


def test_an_exception_that_was_injected_is_a_step_of_its_own() -> None:
    with at_text(PROTECTED, code("90 90")) as cpu:
        cpu.engine.inject(cpu.vcpu, GuestException(13, 0))
        assert list(places(cpu, 1)) == [handler(13)]


def test_the_instruction_behind_sti_comes_before_the_interrupt() -> None:
    with at_text(PROTECTED, code("fb 90 90 ; sti; nop; nop")) as cpu:
        cpu.engine.raise_interrupt(cpu.vcpu, _VECTOR)
        assert list(places(cpu, 3)) == [1, 2, handler(_VECTOR)]


def test_the_instruction_behind_a_load_of_ss_comes_before_the_interrupt() -> None:
    with at_text(PROTECTED, code("16 17 90 90 ; push ss; pop ss; nop; nop"), rflags=2 | _IF) as cpu:
        assert list(places(cpu, 1)) == [1]
        cpu.engine.raise_interrupt(cpu.vcpu, None)
        assert list(places(cpu, 1)) == [2]
        cpu.engine.raise_interrupt(cpu.vcpu, _VECTOR)
        assert list(places(cpu, 2)) == [3, handler(_VECTOR)]


@pytest.mark.parametrize("mode", [PROTECTED_USER, LONG_USER], ids=lambda mode: mode.name)
def test_a_system_call_is_a_step_into_the_kernel(mode: Mode) -> None:
    text = code("cd 80")
    with at_text(mode, text) as cpu:
        # Only a gate that a user may use leads there; the others raise #GP.
        assert list(places(cpu, 1)) == [handler(13)]
        assert cpu.vcpu.cpl == 0


@pytest.mark.parametrize("mode", [REAL, PROTECTED, LONG], ids=lambda mode: mode.name)
def test_steps_come_to_the_same_as_one_slice(mode: Mode) -> None:
    text = code("b8 05 00 00 00 01 c0 50 58 cc")
    outcomes = []
    for budget in (SINGLE_STEP, Budget(instructions=1_000), Budget(seconds=1)):
        with cpu_in(mode, text) as cpu:
            exit: Exit = PreemptionTimer()
            while exit == PreemptionTimer():
                exit = cpu.run_slice(budget)
            counted = cpu.vcpu.instructions if budget.instructions else None
            outcomes.append((exit, cpu.vcpu.rax, cpu.vcpu.rsp, cpu.vcpu.rip, cpu.vcpu.rflags, counted))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][:5] == outcomes[2][:5]
