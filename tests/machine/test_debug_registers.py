"""The guest's own data breakpoints, and general detection (Intel SDM vol. 3, "Debug registers")."""

import struct

import pytest

from kev.engine.base import Budget
from kev.exits import Access, EptViolation, Exit, PreemptionTimer, Vmcall, Watchpoint
from tests.machine.code import VMCALL, code
from tests.machine.cpu import Cpu
from tests.machine.modes import ABSENT_PAGE, LONG, PAGE_TABLES, PROTECTED, REAL, TEXT, Mode, cpu_in, delivery, handler

WATCHED = 0x5000
WRITES, READS_AND_WRITES = 1, 3
LENGTHS = {1: 0, 2: 1, 4: 3, 8: 2}
BREAKPOINT_1, DETECTED, SINGLE_STEP = 1 << 1, 1 << 13, 1 << 14
GENERAL_DETECT = 1 << 13
IRETQ = code("48 cf")

SLICES = pytest.mark.parametrize("slice_length", [None, 1, 3, 1000])
MODES = pytest.mark.parametrize("mode", [PROTECTED, LONG], ids=lambda mode: mode.name)


def mov(register: int, value: int) -> bytes:
    """MOV r32, value."""
    return bytes([0xB8 + register]) + struct.pack("<I", value)


def arm(kind: int, length: int, address: int = WATCHED) -> bytes:
    """Puts a breakpoint into DR1. 16 bytes."""
    return (
        mov(0, address) + code("0f 23 c8 ; mov dr1, eax")
        + mov(0, 0x400 | 1 << 3 | kind << 20 | LENGTHS[length] << 22) + code("0f 23 f8 ; mov dr7, eax")
    )  # fmt: skip


ARMED = TEXT + 16


def run(cpu: Cpu, slice_length: int | None, vcpu: int = 0) -> Exit:
    """Runs until an exit that has no answer. A slice may end at a breakpoint."""
    budget = Budget(seconds=3) if slice_length is None else Budget(instructions=slice_length)
    for _ in range(1000):
        exit = cpu.run_slice(budget, vcpu)
        if not isinstance(exit, PreemptionTimer):
            return exit
    raise AssertionError("the code does not end")


@SLICES
@MODES
@pytest.mark.parametrize(
    ("kind", "length", "address", "access", "is_met"),
    [
        (WRITES, 4, WATCHED, "89 07 ; mov [edi], eax", True),
        (WRITES, 4, WATCHED + 3, "c6 07 07 ; mov byte [edi], 7", True),
        (WRITES, 4, WATCHED - 3, "89 07 ; mov [edi], eax", True),
        (WRITES, 4, WATCHED + 4, "89 07 ; mov [edi], eax", False),
        (WRITES, 4, WATCHED - 4, "89 07 ; mov [edi], eax", False),
        (WRITES, 4, WATCHED, "8b 07 ; mov eax, [edi]", False),
        (WRITES, 1, WATCHED + 1, "89 07 ; mov [edi], eax", False),
        (WRITES, 2, WATCHED + 1, "c6 07 07 ; mov byte [edi], 7", True),
        (READS_AND_WRITES, 4, WATCHED, "8b 07 ; mov eax, [edi]", True),
        (READS_AND_WRITES, 8, WATCHED + 4, "8b 07 ; mov eax, [edi]", True),
        (READS_AND_WRITES, 4, WATCHED, "ff 07 ; inc dword [edi]", True),
    ],
)
def test_a_data_breakpoint_is_a_trap_behind_the_access(
    mode: Mode, kind: int, length: int, address: int, access: str, is_met: bool, slice_length: int | None
) -> None:
    text = arm(kind, length) + mov(7, address) + code(access)
    with cpu_in(mode, text + code("90 ; nop") + VMCALL) as cpu:
        exit = run(cpu, slice_length)
        if is_met:
            found = delivery(cpu, mode, exit, error_code=False)
            assert (found.vector, found.rip, cpu.vcpu.dr6) == (1, TEXT + len(text), 0xFFFF_0FF0 | BREAKPOINT_1)
        else:
            assert (exit, cpu.vcpu.rip) == (Vmcall(), TEXT + len(text) + 1)


@SLICES
def test_the_guest_goes_on_and_meets_it_again(slice_length: int | None) -> None:
    text = arm(WRITES, 4) + code(
        "89 04 25 00 50 00 00 48 ff c3 89 04 25 00 50 00 00 ; mov [0x5000], eax; inc rbx; mov [0x5000], eax"
    )
    with cpu_in(LONG, text + VMCALL, {handler(1): code("ff c5 ; inc ebp") + IRETQ}) as cpu:
        assert run(cpu, slice_length) == Vmcall()
        assert (cpu.vcpu.rip, cpu.vcpu.rbp, cpu.vcpu.rbx) == (TEXT + len(text), 2, 1)


@SLICES
def test_a_single_step_and_a_data_breakpoint_are_one_exception(slice_length: int | None) -> None:
    text = arm(WRITES, 4) + code("68 02 01 00 00 9d 89 04 25 00 50 00 00 90 ; push TF; popf; mov [0x5000], eax; nop")
    with cpu_in(LONG, text + VMCALL) as cpu:
        found = delivery(cpu, LONG, run(cpu, slice_length), error_code=False)
        assert (found.vector, found.rip) == (1, ARMED + 13)
        assert cpu.vcpu.dr6 == 0xFFFF_0FF0 | BREAKPOINT_1 | SINGLE_STEP


@SLICES
def test_an_access_that_faults_is_none(slice_length: int | None) -> None:
    text = arm(WRITES, 4, ABSENT_PAGE) + mov(7, ABSENT_PAGE) + code("89 07 ; mov [rdi], eax")
    with cpu_in(LONG, text) as cpu:
        assert delivery(cpu, LONG, run(cpu, slice_length), error_code=True).vector == 14
        assert cpu.vcpu.dr6 == 0xFFFF_0FF0


@SLICES
def test_a_breakpoint_that_is_taken_away_is_met_no_more(slice_length: int | None) -> None:
    text = arm(WRITES, 4) + mov(0, 0x400) + code("0f 23 f8 89 04 25 00 50 00 00 ; mov dr7, eax; mov [0x5000], eax")
    with cpu_in(LONG, text + VMCALL) as cpu:
        assert (run(cpu, slice_length), cpu.vcpu.rip) == (Vmcall(), TEXT + len(text))


@SLICES
def test_what_is_watched_is_a_linear_address(slice_length: int | None) -> None:
    entry = PAGE_TABLES + 0x3000 + 8 * 5
    text = arm(WRITES, 4) + code("48 c7 04 25") + struct.pack("<II", entry, 0x9007) + code("""
        0f 20 d8 0f 22 d8       ; mov rax, cr3; mov cr3, rax
        89 04 25 00 50 00 00    ; mov [0x5000], eax
    """)  # fmt: skip
    with cpu_in(LONG, text + VMCALL) as cpu:
        found = delivery(cpu, LONG, run(cpu, slice_length), error_code=False)
        assert (found.vector, found.rip) == (1, TEXT + len(text))
        assert cpu.read(0x9000, 4) == PAGE_TABLES


def test_it_is_only_the_vcpus_that_has_it() -> None:
    store = code("89 04 25 00 50 00 00 ; mov [0x5000], eax")
    with cpu_in(LONG, arm(WRITES, 4) + store + VMCALL, vcpus=2) as cpu:
        for vcpu in cpu.vcpus:
            vcpu.dr7 = 0x400
        cpu.vcpus[1].rip = 0x1000
        assert delivery(cpu, LONG, run(cpu, None), error_code=False).vector == 1
        cpu.page(0x2000)[0x45] = 0x89  # the task state segment is not busy
        cpu.page(TEXT)[:] = (store + VMCALL).ljust(4096, b"\x90")
        cpu.engine.written(cpu.table.translate(TEXT) or 0)
        assert run(cpu, None, 1) == Vmcall()
        assert cpu.vcpus[1].rip == TEXT + len(store)


def test_a_debugger_that_watches_the_same_is_told_as_well() -> None:
    store = code("89 04 25 00 50 00 00 ; mov [0x5000], eax")
    with cpu_in(LONG, arm(WRITES, 4) + store + code("90") + VMCALL) as cpu:
        cpu.engine.set_watchpoints([(range(WATCHED, WATCHED + 4), Access.WRITE)])
        budget = Budget(instructions=1000)
        while not isinstance(exit := cpu.run_slice(budget), Watchpoint):
            pass
        assert (exit.gva, cpu.vcpu.rip) == (WATCHED, ARMED + 7)
        cpu.engine.set_watchpoints([])
        assert delivery(cpu, LONG, run(cpu, 1000), error_code=False).vector == 1


def test_one_that_is_set_from_outside_counts() -> None:
    with cpu_in(PROTECTED, code("90 a3 00 50 00 00 90 ; nop; mov [0x5000], eax; nop") + VMCALL) as cpu:
        while cpu.vcpu.rip != TEXT:
            cpu.run_slice(Budget(instructions=1))
        cpu.vcpu.dr1 = WATCHED
        cpu.vcpu.dr7 = 0x400 | 1 << 3 | WRITES << 20 | LENGTHS[4] << 22
        assert delivery(cpu, PROTECTED, run(cpu, None), error_code=False).rip == TEXT + 6


# General detection.


@SLICES
@pytest.mark.parametrize("access", ["0f 21 f0 ; mov rax, dr6", "0f 23 c0 ; mov dr0, rax", "0f 21 f8 ; mov rax, dr7", "0f 23 f8"])
def test_an_access_while_gd_is_set_is_a_fault_that_clears_it(access: str, slice_length: int | None) -> None:
    text = mov(0, 0x400 | GENERAL_DETECT) + code("0f 23 f8 ; mov dr7, rax")
    with cpu_in(LONG, text + code(access)) as cpu:
        found = delivery(cpu, LONG, run(cpu, slice_length), error_code=False)
        assert (found.vector, found.rip) == (1, TEXT + len(text))
        assert (cpu.vcpu.dr6, cpu.vcpu.dr7) == (0xFFFF_0FF0 | DETECTED, 0x400)


@SLICES
def test_the_handler_may_access_them_and_the_instruction_is_repeated(slice_length: int | None) -> None:
    text = mov(0, 0x400 | GENERAL_DETECT) + code("0f 23 f8 0f 21 f3 ; mov dr7, rax; mov rbx, dr6")
    handlers = {handler(1): code("0f 21 f1 ff c5 ; mov rcx, dr6; inc ebp") + IRETQ}
    with cpu_in(LONG, text + VMCALL, handlers) as cpu:
        assert (run(cpu, slice_length), cpu.vcpu.rip) == (Vmcall(), TEXT + len(text))
        assert (cpu.vcpu.rbp, cpu.vcpu.rcx, cpu.vcpu.rbx) == (1, 0xFFFF_0FF0 | DETECTED, 0xFFFF_0FF0 | DETECTED)


# What else the registers do.


@SLICES
def test_dr4_and_dr5_are_dr6_and_dr7_unless_cr4_de_is_set(slice_length: int | None) -> None:
    with cpu_in(
        LONG, mov(0, 0x4000) + code("0f 23 e0 0f 21 f3 0f 21 ec ; mov dr4, rax; mov rbx, dr6; mov rsp, dr5") + VMCALL
    ) as cpu:
        assert run(cpu, slice_length) == Vmcall()
        assert (cpu.vcpu.rbx, cpu.vcpu.rsp) == (0xFFFF_4FF0, 0x400)


@SLICES
@pytest.mark.parametrize("prefixes", ["4c f3", "49 3e", "44 66 41 f2", "67 2e"])
def test_a_rex_prefix_that_is_not_the_last_one_counts_for_nothing(prefixes: str, slice_length: int | None) -> None:
    with cpu_in(LONG, mov(0, 0x1234) + code(f"{prefixes} 0f 23 00 0f 21 c3 ; mov dr0, rax; mov rbx, dr0") + VMCALL) as cpu:
        assert run(cpu, slice_length) == Vmcall()
        assert cpu.vcpu.rbx == 0x1234


@SLICES
@pytest.mark.parametrize("move", ["0f 23 f0 ; mov dr6, rax", "0f 23 f8 ; mov dr7, rax"])
def test_the_upper_halves_of_dr6_and_dr7_are_reserved(move: str, slice_length: int | None) -> None:
    with cpu_in(LONG, code("48 c7 c0 ff ff ff ff ; mov rax, -1") + code(move)) as cpu:
        found = delivery(cpu, LONG, run(cpu, slice_length), error_code=True)
        assert (found.vector, found.error_code, found.rip) == (13, 0, TEXT + 7)


def test_execution_breakpoints_are_faults_in_every_mode() -> None:
    for mode, prefix in ((REAL, "66 "), (PROTECTED, ""), (LONG, "")):
        text = b"".join(
            code(prefix) + mov(0, value) + code(move)
            for value, move in ((TEXT + (18 if prefix else 16), "0f 23 c8"), (0x408, "0f 23 f8"))
        )
        with cpu_in(mode, text + code("90") + VMCALL) as cpu:
            found = delivery(cpu, mode, run(cpu, None), error_code=False)
            assert (found.vector, found.rip, cpu.vcpu.dr6) == (1, TEXT + len(text), 0xFFFF_0FF0 | BREAKPOINT_1)


@SLICES
@MODES
@pytest.mark.parametrize("load", ["8e d2 ; mov ss, edx", "8e 16 ; mov ss, [esi]", "fb ; sti"], ids=["register", "memory", "sti"])
def test_an_execution_breakpoint_behind_mov_ss_is_not_met_and_the_next_one_is(
    mode: Mode, load: str, slice_length: int | None
) -> None:
    moves = 3 * 8 + 2 * 5 + 8 + len(code(load))
    at = TEXT + moves
    text = (
        mov(0, at) + code("0f 23 c8 ; mov dr1, eax") + mov(0, at + 2) + code("0f 23 d0 ; mov dr2, eax")
        + mov(0, 0x428) + code("0f 23 f8 ; mov dr7, eax") + mov(2, 0x10) + mov(6, WATCHED)
        + code("90 90 90 90 90 90 90 90") + code(load)
    )  # fmt: skip
    assert len(text) == moves
    with cpu_in(mode, text + code("90 90 90") + VMCALL, {WATCHED: b"\x10\0"}) as cpu:
        found = delivery(cpu, mode, run(cpu, slice_length), error_code=False)
        first = "sti" in load
        assert (found.vector, found.rip) == (1, at + (0 if first else 2))
        assert cpu.vcpu.dr6 == 0xFFFF_0FF0 | 1 << (1 if first else 2)


def with_stack_segment_watched(load: str, behind: str) -> tuple[bytes, int]:
    """Loads SS from what a breakpoint watches, and executes what is `behind` that; and where this is."""
    loaded = arm(READS_AND_WRITES, 4) + mov(4, WATCHED) * ("pop" in load) + mov(6, WATCHED) + code(load)
    return loaded + code(behind) + VMCALL, TEXT + len(loaded)


@SLICES
@pytest.mark.parametrize(
    ("mode", "load"),
    [(PROTECTED, "8e 16 ; mov ss, [esi]"), (LONG, "8e 16 ; mov ss, [rsi]"), (PROTECTED, "17 ; pop ss")],
    ids=["mov-32", "mov-64", "pop-32"],
)
def test_a_data_breakpoint_of_mov_ss_comes_behind_the_next_instruction(mode: Mode, load: str, slice_length: int | None) -> None:
    text, behind = with_stack_segment_watched(load, "bc 00 58 00 00 90 ; mov esp, 0x5800; nop")
    with cpu_in(mode, text, {WATCHED: b"\x10\0"}) as cpu:
        found = delivery(cpu, mode, run(cpu, slice_length), error_code=False)
        assert (found.vector, found.rip, cpu.vcpu.dr6) == (1, behind + 5, 0xFFFF_0FF0 | BREAKPOINT_1)


@SLICES
@MODES
@pytest.mark.parametrize(("interrupt", "vector"), [("cc", 3), ("cd 01", 1), ("cd 20", 0x20)], ids=["int3", "int 1", "int 0x20"])
def test_a_data_breakpoint_of_mov_ss_comes_in_the_handler_of_an_int_behind(
    mode: Mode, interrupt: str, vector: int, slice_length: int | None
) -> None:
    text, _ = with_stack_segment_watched("8e 16 ; mov ss, [esi]", interrupt)
    with cpu_in(mode, text, {WATCHED: b"\x10\0"}) as cpu:
        found = delivery(cpu, mode, run(cpu, slice_length), error_code=False)
        assert (found.vector, found.rip, cpu.vcpu.dr6) == (1, handler(vector), 0xFFFF_0FF0 | BREAKPOINT_1)


@SLICES
@MODES
def test_a_data_breakpoint_of_mov_ss_and_int1_behind_it_are_one_exception(mode: Mode, slice_length: int | None) -> None:
    text, behind = with_stack_segment_watched("8e 16 ; mov ss, [esi]", "f1 ; int1")
    iret = IRETQ if mode is LONG else code("cf")
    with cpu_in(mode, text, {WATCHED: b"\x10\0", handler(1): code("ff c5 ; inc ebp") + iret}) as cpu:
        assert run(cpu, slice_length) == Vmcall()
        assert (cpu.vcpu.rip, cpu.vcpu.rbp, cpu.vcpu.dr6) == (behind + 1, 1, 0xFFFF_0FF0 | BREAKPOINT_1)


@SLICES
def test_a_data_breakpoint_of_mov_ss_comes_behind_an_instruction_that_is_intercepted(slice_length: int | None) -> None:
    text, behind = with_stack_segment_watched("8e 16 ; mov ss, [rsi]", "0f a2 90 ; cpuid; nop")
    with cpu_in(LONG, text, {WATCHED: b"\x10\0"}) as cpu:
        assert delivery(cpu, LONG, run(cpu, slice_length), error_code=False).rip == behind + 2


def test_a_data_breakpoint_of_mov_ss_comes_behind_a_page_that_was_waited_for() -> None:
    text, behind = with_stack_segment_watched("8e 16 ; mov ss, [esi]", "a1 00 d0 00 00 90 ; mov eax, [0xd000]; nop")
    with cpu_in(PROTECTED, text, {WATCHED: b"\x10\0"}) as cpu:
        cpu.awaits_pages = True
        cpu.answers = {**cpu.answers, EptViolation: lambda _: None}
        found = delivery(cpu, PROTECTED, cpu.run(100), error_code=False)
        assert (found.vector, found.rip) == (1, behind + 5)


@pytest.mark.parametrize("slice_length", [1, 3, 1000])
def test_an_instruction_whose_breakpoint_is_held_back_counts_once(slice_length: int) -> None:
    counts = []
    for enabled in (0x400, 0x408):
        text = (
            mov(0, TEXT + 28) + code("0f 23 c8 ; mov dr1, eax") + mov(0, enabled) + code("0f 23 f8 ; mov dr7, eax") + mov(2, 0x10)
            + code("90 90 90 90 90 8e d2 ; mov ss, edx")
        )  # fmt: skip
        assert len(text) == 28
        with cpu_in(PROTECTED, text + code("90 90") + VMCALL) as cpu:
            assert run(cpu, slice_length) == Vmcall()
            counts.append((cpu.vcpu.rip, cpu.vcpu.instructions))
    assert counts[0] == counts[1]
