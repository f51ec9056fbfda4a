"""Watchpoints: reported behind the instruction, and of no consequence for the guest."""

import struct

import pytest

from kev.addressing import Gva
from kev.engine.base import SINGLE_STEP, Budget
from kev.exits import Access, Breakpoint, Exit, PreemptionTimer, Vmcall, Watchpoint
from tests.machine.code import VMCALL, code
from tests.machine.cpu import Cpu
from tests.machine.modes import EVERY_MODE, LONG, PAGE_TABLES, PROTECTED, PROTECTED_USER, REAL, TEXT, Mode, cpu_in, handler

UNCOUNTED, COUNTED = Budget(seconds=60), Budget(instructions=100_000)
BUDGETS = pytest.mark.parametrize("budget", [UNCOUNTED, COUNTED], ids=["uncounted", "counted"])
WATCHED = 0x5000
ANY = Access.READ | Access.WRITE

PROGRAM = code("""
    a1 00 50 00 00          ; 0  mov eax, [0x5000]
    a3 04 50 00 00          ; 5  mov [0x5004], eax
    c6 05 03 50 00 00 07    ; 10 mov byte [0x5003], 7
    ff 05 fe 4f 00 00       ; 17 inc dword [0x4ffe]
    90                      ; 23
""")


def hits(cpu: Cpu, budget: Budget) -> tuple[list[tuple[int, Watchpoint]], Exit]:
    """What watchpoints tell, with the vCPU's place relative to the text, and how the run ends."""
    found = []
    while True:
        exit = cpu.run_slice(budget)
        if isinstance(exit, Watchpoint):
            found.append((cpu.vcpu.instruction_address - TEXT, exit))
        elif not isinstance(exit, PreemptionTimer):
            return found, exit


def read(gva: int, size: int) -> Watchpoint:
    return Watchpoint(Gva(gva), size, Access.READ)


def write(gva: int, size: int) -> Watchpoint:
    return Watchpoint(Gva(gva), size, Access.WRITE)


@BUDGETS
@pytest.mark.parametrize("mode", [PROTECTED, PROTECTED_USER], ids=lambda mode: mode.name)
def test_reads_and_writes_stop_behind_their_instruction(mode: Mode, budget: Budget) -> None:
    with cpu_in(mode, PROGRAM + VMCALL) as cpu:
        cpu.engine.set_watchpoints([(range(WATCHED, WATCHED + 4), ANY)])
        assert hits(cpu, budget) == ([(5, read(WATCHED, 4)), (17, write(WATCHED + 3, 1)), (23, read(WATCHED, 4))], Vmcall())


@pytest.mark.parametrize(("access", "places"), [(Access.READ, [5, 23]), (Access.WRITE, [17, 23])], ids=["reads", "writes"])
def test_only_what_is_watched_stops(access: Access, places: list[int]) -> None:
    with cpu_in(PROTECTED, PROGRAM + VMCALL) as cpu:
        cpu.engine.set_watchpoints([(range(WATCHED, WATCHED + 4), access)])
        found, _ = hits(cpu, COUNTED)
        assert [place for place, _ in found] == places
        assert {hit.access for _, hit in found} == {access}


def test_each_mode_is_watched() -> None:
    # MOV from and to memory by BX and RBX, which is the same code in 16 bits and in 64.
    text = code("8b 07 89 07 ; mov eax, [bx or rdi]; mov [bx or rdi], eax")
    for mode in EVERY_MODE:
        with cpu_in(mode, text + VMCALL) as cpu:
            while cpu.vcpu.instruction_address != TEXT:
                cpu.run_slice(SINGLE_STEP)
            cpu.vcpu.rbx = cpu.vcpu.rdi = WATCHED
            cpu.engine.set_watchpoints([(range(WATCHED, WATCHED + 1), ANY)])
            size = 2 if mode is REAL else 4
            assert hits(cpu, COUNTED) == ([(2, read(WATCHED, size)), (4, write(WATCHED, size))], Vmcall())


def test_a_run_comes_to_the_same_with_watchpoints() -> None:
    outcomes = []
    for watched in ([], [(range(0x9000, 0x9008), ANY)], [(range(WATCHED - 2, WATCHED + 8), ANY)]):
        for length in (1, 3, 100_000):
            with cpu_in(LONG, code("b8 00 50 00 00 8b 18 ff c3 89 18 50 58") + VMCALL) as cpu:
                cpu.engine.set_watchpoints(watched)
                hits(cpu, Budget(instructions=length))
                state = cpu.vcpu
                outcomes.append(
                    (state.rax, state.rbx, state.rsp, state.rip, state.rflags, state.instructions, bytes(cpu.page(WATCHED)))
                )
    assert outcomes == outcomes[:1] * len(outcomes)


def test_a_vcpu_that_was_put_aside_while_there_were_watchpoints_runs_on_without_them() -> None:
    with cpu_in(PROTECTED, code("0f 20 c0 0f 22 c0 ; mov eax, cr0; mov cr0, eax") + VMCALL, vcpus=2) as cpu:
        while cpu.vcpus[1].instruction_address != TEXT:
            cpu.run_slice(SINGLE_STEP, vcpu=1)
        cpu.engine.set_watchpoints([(range(WATCHED, WATCHED + 4), ANY)])
        cpu.run_slice(SINGLE_STEP, vcpu=1)
        cpu.run_slice(SINGLE_STEP, vcpu=0)
        cpu.engine.set_watchpoints([])
        assert cpu.run(vcpu=1) == Vmcall()


def test_a_string_instruction_stops_after_each_time() -> None:
    text = code("b9 05 00 00 00 bf fe 4f 00 00 f3 aa ; mov ecx, 5; mov edi, 0x4ffe; rep stosb")
    with cpu_in(PROTECTED, text + VMCALL) as cpu:
        cpu.engine.set_watchpoints([(range(WATCHED, WATCHED + 2), Access.WRITE)])
        assert hits(cpu, COUNTED) == ([(10, write(WATCHED, 1)), (10, write(WATCHED + 1, 1))], Vmcall())
        assert cpu.vcpu.rdi == 0x5003


def test_pushes_and_frames_of_interrupts_are_writes() -> None:
    with cpu_in(PROTECTED, code("50 0f 0b")) as cpu:
        while cpu.vcpu.instruction_address != TEXT:
            cpu.run_slice(SINGLE_STEP)
        stack = cpu.vcpu.rsp
        cpu.engine.set_watchpoints([(range(stack - 16, stack), Access.WRITE)])
        assert hits(cpu, COUNTED) == ([(1, write(stack - 4, 4)), (handler(6) - TEXT, write(stack - 8, 4))], Vmcall())


@pytest.mark.parametrize("awaits", [False, True], ids=["at-once", "awaited"])
@BUDGETS
def test_a_page_that_is_not_there_yet_is_watched(awaits: bool, budget: Budget) -> None:
    with cpu_in(PROTECTED, code("a1 00 50 09 00 a3 04 50 09 00 ; mov eax, [0x95000]; mov [0x95004], eax") + VMCALL) as cpu:
        cpu.awaits_pages = awaits
        cpu.engine.set_watchpoints([(range(0x95000, 0x95008), ANY)])
        length = None if budget is UNCOUNTED else 50
        assert [cpu.run(length) for _ in range(3)] == [read(0x95000, 4), write(0x95004, 4), Vmcall()]


def test_an_access_through_another_address_counts() -> None:
    # The page at 0x95000 is mapped at 0x5000, too.
    entry = {PAGE_TABLES + 0x1000 + 4 * 5: struct.pack("<I", 0x95007)}
    with cpu_in(PROTECTED, code("a3 08 50 09 00 ; mov [0x95008], eax") + VMCALL, entry) as cpu:
        cpu.engine.set_watchpoints([(range(WATCHED, WATCHED + 16), Access.WRITE)])
        assert hits(cpu, COUNTED) == ([(5, write(WATCHED + 8, 4))], Vmcall())


@BUDGETS
def test_what_is_watched_follows_the_guests_tables(budget: Budget) -> None:
    entry = PAGE_TABLES + 0x1000 + 4 * 5
    text = (
        code("a3 00 50 00 00 c7 05")  # 0 mov [0x5000], eax; 5 mov dword [entry], 0x95007
        + struct.pack("<II", entry, 0x95007)
        + code("""
            0f 01 3d 00 50 00 00    ; 15 invlpg [0x5000]
            a3 00 50 00 00          ; 22 mov [0x5000], eax
            a3 00 50 09 00          ; 27 mov [0x95000], eax
        """)
    )
    with cpu_in(PROTECTED, text + VMCALL) as cpu:
        cpu.engine.set_watchpoints([(range(WATCHED, WATCHED + 4), Access.WRITE)])
        assert hits(cpu, budget) == ([(5, write(WATCHED, 4)), (27, write(WATCHED, 4)), (32, write(WATCHED, 4))], Vmcall())


@BUDGETS
def test_what_is_watched_follows_cr3_and_paging(budget: Budget) -> None:
    # Tables at 0x9a000 map 0x5000 to 0x95000, and the text to itself; then paging is switched off.
    tables = {0x9A000: struct.pack("<I", 0x9B007), 0x9B000 + 4 * 5: struct.pack("<II", 0x95007, 0x6007)}
    text = code("""
        a3 00 50 00 00      ; 0  mov [0x5000], eax
        b8 00 a0 09 00      ; 5  mov eax, 0x9a000
        0f 22 d8            ; 10 mov cr3, eax
        a3 00 50 00 00      ; 13 mov [0x5000], eax
        0f 20 c0            ; 18 mov eax, cr0
        0f ba f0 1f         ; 21 btr eax, 31
        0f 22 c0            ; 25 mov cr0, eax
        a3 00 50 09 00      ; 28 mov [0x95000], eax
        a3 00 50 00 00      ; 33 mov [0x5000], eax
    """)
    with cpu_in(PROTECTED, text + VMCALL, tables) as cpu:
        cpu.engine.set_watchpoints([(range(WATCHED, WATCHED + 4), Access.WRITE)])
        assert hits(cpu, budget) == ([(place, write(WATCHED, 4)) for place in (5, 18, 38)], Vmcall())


def test_changes_of_the_address_space_count_as_ever() -> None:
    text = code("0f 20 d8 0f 22 d8 0f 20 c0 0f 22 c0 90 ; mov eax, cr3; mov cr3, eax; mov eax, cr0; mov cr0, eax; nop")
    outcomes = []
    for watched in ([], [(range(WATCHED, WATCHED + 4), ANY)]):
        for length in (1, 2, 3, 100):
            with cpu_in(PROTECTED, text + VMCALL) as cpu:
                cpu.engine.set_watchpoints(watched)
                slices = 0
                while not isinstance(cpu.run_slice(Budget(instructions=length)), Vmcall):
                    slices += 1
                outcomes.append((length, slices, cpu.vcpu.instructions, cpu.vcpu.rip, cpu.vcpu.cr3, cpu.vcpu.cr0))
    assert outcomes[:4] == outcomes[4:]


def test_those_that_are_gone_stop_nobody() -> None:
    with cpu_in(PROTECTED, PROGRAM + VMCALL) as cpu:
        cpu.engine.set_watchpoints([(range(WATCHED, WATCHED + 4), ANY)])
        assert isinstance(cpu.run_slice(UNCOUNTED), Watchpoint)
        cpu.engine.set_watchpoints([])
        assert cpu.run_slice(UNCOUNTED) == Vmcall()


def test_breakpoints_and_watchpoints_go_together() -> None:
    with cpu_in(PROTECTED, PROGRAM + VMCALL) as cpu:
        cpu.engine.set_breakpoints(frozenset({TEXT + 5, TEXT + 10}))
        cpu.engine.set_watchpoints([(range(WATCHED, WATCHED + 8), ANY)])
        exits = [cpu.run_slice(UNCOUNTED) for _ in range(6)]
        assert exits == [
            read(WATCHED, 4), Breakpoint(Gva(TEXT + 5)), write(WATCHED + 4, 4), Breakpoint(Gva(TEXT + 10)), write(WATCHED + 3, 1),
            read(WATCHED, 4),
        ]  # fmt: skip


def test_a_range_may_span_pages() -> None:
    with cpu_in(PROTECTED, PROGRAM + VMCALL) as cpu:
        cpu.engine.set_watchpoints([(range(WATCHED - 0x1000, WATCHED + 0x1000), Access.WRITE)])
        assert [place for place, _ in hits(cpu, COUNTED)[0]] == [10, 17, 23]
