"""Breakpoints: reported before the instruction, and of no consequence for the guest."""

import random

import pytest

from kev.addressing import Gva
from kev.engine.base import SINGLE_STEP, Budget
from kev.exits import Breakpoint, Cpuid, Exit, PreemptionTimer, Vmcall
from tests.machine.code import VMCALL, code
from tests.machine.cpu import Cpu
from tests.machine.modes import (
    EVERY_MODE,
    LONG,
    LONG_USER,
    PROTECTED,
    PROTECTED_USER,
    REAL,
    TEXT,
    Mode,
    cpu_in,
    gate_address,
    handler,
)

UNCOUNTED, COUNTED = Budget(seconds=60), Budget(instructions=100_000)
BUDGETS = pytest.mark.parametrize("budget", [UNCOUNTED, COUNTED], ids=["uncounted", "counted"])
MODES = pytest.mark.parametrize("mode", EVERY_MODE, ids=lambda mode: mode.name)

PROGRAM = code("""
    b1 03   ; 0  mov cl, 3
    50      ; 2  push
    0f a2   ; 3  cpuid
    5a      ; 5  pop dx
    fe c9   ; 6  dec cl
    75 f8   ; 8  jne 2
    cc      ; 10 int3
""")
"""The same in every mode, but for CL: CPUID leaves 3 there, 2, 1 and 0."""
ROUNDS = 3


def program(mode: Mode, **arguments: object) -> Cpu:
    """A CPU that runs PROGRAM, with an answer to CPUID that leaves CL alone."""
    from kev.exits import CpuidResult

    def answer(_exit: Exit) -> CpuidResult:
        return CpuidResult(1, 2, cpu.vcpu.rcx & 0xFFFF_FFFF, 4)

    cpu = cpu_in(mode, PROGRAM, answers={Cpuid: answer})
    return cpu


def stops(cpu: Cpu, budget: Budget) -> tuple[list[int], Exit]:
    """Where breakpoints stop the run, relative to the text, and how it ends."""
    places = []
    while True:
        exit = cpu.run_slice(budget)
        if isinstance(exit, Breakpoint):
            assert cpu.vcpu.instruction_address == exit.gva
            places.append(exit.gva - TEXT)
        elif not isinstance(exit, PreemptionTimer):
            return places, exit


def everything(cpu: Cpu) -> object:
    """What a run has come to."""
    state = cpu.vcpu
    general = [getattr(state, name) for name in ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "rip", "rflags", "cr2")]
    memory = [bytes(cpu.page(gpa)) for gpa in range(0, 0x10000, 0x1000)]
    return (
        general,
        memory,
        cpu.exits,
        state.segment("cs"),
        state.read_fpu(),
    )


@MODES
@BUDGETS
def test_a_vcpu_stops_before_each_instruction_every_time(mode: Mode, budget: Budget) -> None:
    with program(mode) as cpu:
        cpu.engine.set_breakpoints(frozenset(TEXT + offset for offset in (0, 2, 3, 5, 6, 8, 10)))
        assert stops(cpu, budget) == ([0, *[2, 3, 5, 6, 8] * ROUNDS, 10], Vmcall())


@MODES
def test_a_run_comes_to_the_same_with_breakpoints(mode: Mode) -> None:
    outcomes = []
    for offsets in ((), (0x100,), (2, 3, 6, 10)):
        with program(mode) as cpu:
            cpu.engine.set_breakpoints(frozenset(TEXT + offset for offset in offsets))
            stops(cpu, COUNTED)
            outcomes.append((everything(cpu), cpu.vcpu.instructions))
    assert outcomes[0] == outcomes[1] == outcomes[2]


@MODES
def test_each_is_reported_once_however_short_slices_are(mode: Mode) -> None:
    chance = random.Random(3)
    for _ in range(20):
        with program(mode) as cpu:
            cpu.engine.set_breakpoints(frozenset({TEXT + 3, TEXT + 6}))
            places: list[int] = []
            exit: Exit = PreemptionTimer()
            while isinstance(exit, PreemptionTimer | Breakpoint):
                exit = cpu.run_slice(Budget(instructions=chance.randrange(1, 9)))
                places += [exit.gva - TEXT] if isinstance(exit, Breakpoint) else []
            assert places == [3, 6] * ROUNDS


def test_single_steps_stop_at_breakpoints_and_go_on_from_there() -> None:
    with program(PROTECTED) as cpu:
        cpu.engine.set_breakpoints(frozenset({TEXT}))
        stop = cpu.run_slice(COUNTED)
        cpu.engine.set_breakpoints(frozenset({TEXT, TEXT + 3}))
        steps = [cpu.run_slice(SINGLE_STEP) for _ in range(3)]
        assert [stop, *steps] == [
            Breakpoint(Gva(TEXT)), PreemptionTimer(), Breakpoint(Gva(TEXT + 3)), PreemptionTimer()
        ]  # fmt: skip
        assert cpu.vcpu.rip == TEXT + 5


def test_one_that_is_set_where_the_vcpu_stands_stops_it_unless_it_is_passed() -> None:
    for passed in (False, True):
        with program(PROTECTED) as cpu:
            cpu.engine.set_breakpoints(frozenset({TEXT + 2}))
            cpu.run_slice(COUNTED)
            cpu.engine.set_breakpoints(frozenset())
            cpu.run_slice(SINGLE_STEP)
            cpu.engine.set_breakpoints(frozenset({TEXT + 3}))
            if passed:
                cpu.engine.pass_breakpoint(cpu.vcpu)
            assert stops(cpu, COUNTED)[0] == [3] * (ROUNDS - passed)


@BUDGETS
def test_those_that_are_gone_stop_nobody(budget: Budget) -> None:
    with program(LONG) as cpu:
        cpu.engine.set_breakpoints(frozenset({TEXT + 2, TEXT + 3}))
        assert cpu.run_slice(budget) == Breakpoint(Gva(TEXT + 2))
        cpu.engine.set_breakpoints(frozenset({TEXT + 3}))
        assert cpu.run_slice(budget) == Breakpoint(Gva(TEXT + 3))
        cpu.engine.set_breakpoints(frozenset())
        assert stops(cpu, budget) == ([], Vmcall())


@BUDGETS
def test_an_instruction_that_jumps_to_itself_stops_every_time(budget: Budget) -> None:
    with cpu_in(PROTECTED, code("e2 fe ; loop to itself") + VMCALL, contents={}) as cpu:
        cpu.engine.set_breakpoints(frozenset({TEXT}))
        cpu.run_slice(budget)
        cpu.vcpu.rcx = 4
        assert stops(cpu, budget) == ([0] * 3, Vmcall())


@BUDGETS
def test_a_string_instruction_stops_once(budget: Budget) -> None:
    with cpu_in(PROTECTED, code("b9 05 00 00 00 bf 00 50 00 00 f3 aa ; mov ecx, 5; mov edi, 0x5000; rep stosb") + VMCALL) as cpu:
        cpu.engine.set_breakpoints(frozenset({TEXT + 10}))
        assert stops(cpu, budget) == ([10], Vmcall())
        assert cpu.vcpu.rdi == 0x5005


def test_a_string_instruction_stops_once_however_short_slices_are() -> None:
    with cpu_in(PROTECTED, code("b9 05 00 00 00 bf 00 50 00 00 f3 aa ; mov ecx, 5; mov edi, 0x5000; rep stosb") + VMCALL) as cpu:
        cpu.engine.set_breakpoints(frozenset({TEXT + 10}))
        assert stops(cpu, Budget(instructions=2)) == ([10], Vmcall())


def test_an_address_is_linear() -> None:
    far = code("ea 00 00 02 06 ; jmp 0x602:0")
    with cpu_in(REAL, far, {TEXT + 0x20: code("40 90 cc")}) as cpu:
        cpu.engine.set_breakpoints(frozenset({TEXT + 0x21}))
        assert cpu.run_slice(UNCOUNTED) == Breakpoint(Gva(TEXT + 0x21))
        assert (cpu.vcpu.cs.selector, cpu.vcpu.rip) == (0x602, 1)
        assert cpu.run_slice(UNCOUNTED) == Vmcall()


@BUDGETS
def test_code_that_writes_itself_stops_where_it_says_now(budget: Budget) -> None:
    # The guest turns a NOP with a breakpoint into INC EBX, and reads it.
    text = code("""
        c6 05 0d 60 00 00 43    ; 0   mov byte [0x600d], 0x43
        8a 05 0d 60 00 00       ; 7   mov al, [0x600d]
        90                      ; 13
        90                      ; 14
    """)
    with cpu_in(PROTECTED, text + VMCALL) as cpu:
        cpu.engine.set_breakpoints(frozenset({TEXT + 13, TEXT + 14}))
        assert stops(cpu, budget) == ([13, 14], Vmcall())
        assert (cpu.vcpu.rbx, cpu.vcpu.rax & 0xFF) == (1, 0x43)


@BUDGETS
def test_a_page_that_is_not_there_yet_has_breakpoints(budget: Budget) -> None:
    jump = code("e9 fb 0f 00 00 ; jmp 0x7000")
    with cpu_in(PROTECTED, jump, {0x7000: code("43 43") + VMCALL}) as cpu:
        cpu.awaits_pages = True
        cpu.engine.set_breakpoints(frozenset({0x7000, 0x7001}))
        assert [cpu.run(None if budget is UNCOUNTED else 50) for _ in range(3)] == [
            Breakpoint(Gva(0x7000)), Breakpoint(Gva(0x7001)), Vmcall()
        ]  # fmt: skip


@BUDGETS
def test_an_instruction_whose_page_has_to_be_awaited_stops_once(budget: Budget) -> None:
    with cpu_in(PROTECTED, code("a1 00 50 09 00 ; mov eax, [0x95000]") + VMCALL) as cpu:
        cpu.awaits_pages = True
        cpu.engine.set_breakpoints(frozenset({TEXT}))
        length = None if budget is UNCOUNTED else 50
        assert [cpu.run(length), cpu.run(length)] == [Breakpoint(Gva(TEXT)), Vmcall()]


@pytest.mark.parametrize("mode", [PROTECTED_USER, LONG_USER], ids=lambda mode: mode.name)
@BUDGETS
def test_handlers_and_what_they_return_to_have_breakpoints(mode: Mode, budget: Budget) -> None:
    back = code("48 cf" if mode.long else "cf")
    with cpu_in(mode, code("90 cc 90 0f 0b"), {handler(3): back}) as cpu:
        cpu.engine.set_breakpoints(frozenset({TEXT + 1, TEXT + 2, handler(3), handler(6)}))
        assert stops(cpu, budget) == ([1, handler(3) - TEXT, 2, handler(6) - TEXT], Vmcall())


def test_a_handler_at_a_breakpoint_stops_behind_a_single_step() -> None:
    with cpu_in(PROTECTED, code("0f 0b")) as cpu:
        cpu.engine.set_breakpoints(frozenset({TEXT, handler(6)}))
        assert cpu.run_slice(COUNTED) == Breakpoint(Gva(TEXT))
        assert cpu.run_slice(SINGLE_STEP) == PreemptionTimer() or cpu.vcpu.rip == handler(6)
        assert cpu.vcpu.rip == handler(6)


def test_every_vcpu_stops() -> None:
    with cpu_in(REAL, code("90 90") + VMCALL, vcpus=2) as cpu:
        cpu.engine.set_breakpoints(frozenset({TEXT}))
        for exit in (Breakpoint(Gva(TEXT)), Vmcall()):
            assert [cpu.run_slice(UNCOUNTED, vcpu) for vcpu in (0, 1)] == [exit, exit]


def test_the_guest_sees_neither_breakpoint_nor_debug_registers() -> None:
    assert gate_address(PROTECTED, 1)
    with cpu_in(PROTECTED, code("a0 00 60 00 00 0f 21 fb ; mov al, [TEXT]; mov ebx, dr7") + VMCALL) as cpu:
        cpu.engine.set_breakpoints(frozenset({TEXT, TEXT + 5}))
        assert stops(cpu, COUNTED) == ([0, 5], Vmcall())
        assert (cpu.vcpu.rax & 0xFF, cpu.vcpu.rbx) == (0xA0, 0x400)
