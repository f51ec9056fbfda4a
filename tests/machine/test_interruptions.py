"""Slices of counted instructions end also behind so many exits and events, of which a guest may make any number."""

import ctypes
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.engine.amdv.counting import NATIVE as COUNTING
from kev.engine.amdv.shortcuts import NATIVE
from kev.engine.base import Budget
from kev.exits import EptViolation, Exit, IoOut, PreemptionTimer, Reply
from tests.machine.code import VMCALL, code
from tests.machine.cpu import CODE, Cpu
from tests.machine.modes import ABSENT_PAGE, CODE_32, CODE_64, LONG, PROTECTED, cpu_in, gate_address

FLOOD = code("e6 80 eb fc  ; out 0x80, al; jmp to it")


@pytest.mark.parametrize("native", [NATIVE, None])
def test_a_counted_slice_ends_behind_so_many_exits(native: ctypes.CDLL | None) -> None:
    with Cpu(FLOOD, native=native) as cpu:
        assert cpu.run_slice(Budget(instructions=1000, interruptions=10)) == PreemptionTimer()
        assert len(cpu.told(IoOut)) + len(cpu.told(EptViolation)) == 10
        assert cpu.vcpu.instructions < 1000


def test_a_counted_slice_ends_behind_so_many_events_though_no_instruction_is_retired() -> None:
    """The handler of page faults lies in a page that is not there."""
    gate = struct.pack("<HHBBH", ABSENT_PAGE & 0xFFFF, CODE_32, 0, 0x8E, ABSENT_PAGE >> 16)
    jump = code("b8") + struct.pack("<I", ABSENT_PAGE) + code("ff e0  ; jmp eax")
    with cpu_in(PROTECTED, jump, {gate_address(PROTECTED, 14): gate}) as cpu:
        cpu.load_everything()
        slices = [cpu.run_slice(Budget(instructions=1000, interruptions=10)) for _ in range(2)]
        executed = cpu.vcpu.instructions
        assert [*slices, cpu.run_slice(Budget(instructions=1000, interruptions=10))] == [PreemptionTimer()] * 3
        assert cpu.vcpu.instructions == executed
        assert cpu.vcpu.rip == ABSENT_PAGE


def test_a_counted_slice_ends_behind_fewer_events_where_each_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """On some hosts, jumps to nowhere are looked for among all blocks that were translated. The handler makes another."""
    monkeypatch.setattr("kev.engine.amdv.blocks.FINDS_BRANCHES", False)
    blocks = 2000
    handler = 0x40000
    gate = struct.pack("<HHBBHQ", handler & 0xFFFF, CODE_64, 0, 0x8E, handler >> 16, 0)
    jump = code("ff e0  ; jmp rax")
    contents = {gate_address(LONG, 13): gate, handler: jump, 0x30000: code("eb 00") * blocks + jump}
    with cpu_in(LONG, code("48 b8") + struct.pack("<Q", 1 << 63) + code("bb 00 00 03 00 ff e3"), contents) as cpu:
        assert cpu.run_slice(Budget(instructions=100_000, interruptions=1000)) == PreemptionTimer()
        first = cpu.vcpu.rsp
        assert cpu.vcpu.instructions > blocks
        assert cpu.run_slice(Budget(instructions=100_000, interruptions=1000)) == PreemptionTimer()
        assert 0 < (first - cpu.vcpu.rsp) / 48 < 50


@pytest.mark.parametrize("natively", [True, False])
def test_a_counted_slice_ends_though_an_instruction_is_begun_again_for_ever(natively: bool) -> None:
    """Violations at a page are answered, and it is never there."""

    def answer(exit: Exit) -> Reply | None:
        assert isinstance(exit, EptViolation)
        return 0 if exit.gpa >= ABSENT_PAGE else cpu.map_page(exit)

    load = code("90 90 a1") + struct.pack("<I", ABSENT_PAGE)  # two NOPs; mov eax, [ABSENT_PAGE]
    with Cpu(load, answers={EptViolation: answer}, counting=COUNTING if natively else None) as cpu:
        slices = [cpu.run_slice(Budget(instructions=1_000_000)) for _ in range(3)]
        assert slices == [PreemptionTimer()] * 3
        assert (cpu.vcpu.instructions, cpu.vcpu.rip) == (2, CODE + 2)


def own_stores(times: int) -> bytes:
    """So often, an instruction is stored to that lies in the same block."""
    # mov byte [the second byte of what follows], 0x33; mov al, 0x33
    store = code("c6 05") + struct.pack("<I", CODE + 5 + 8) + code("33 b0 33")
    return code("bd") + struct.pack("<I", times) + store + code("4d 75 f4") + VMCALL  # with EBP as counter


@pytest.mark.skipif(COUNTING is None, reason="only what is compiled for the host notices such stores")
def test_a_counted_slice_ends_behind_so_many_stores_to_the_code_that_they_are_in() -> None:
    """The rest of the block is translated anew behind each, which takes as long as thousands of instructions."""
    with Cpu(own_stores(1000)) as cpu:
        assert cpu.run_slice(Budget(instructions=3000, interruptions=10)) == PreemptionTimer()
        assert 40 < cpu.vcpu.instructions < 60


@given(st.integers(1, 7))
def test_where_slices_end_changes_nothing_of_stores_to_the_code_that_they_are_in(interruptions: int) -> None:
    with Cpu(own_stores(30)) as whole:
        whole.run(1000)
    slices = 1
    with Cpu(own_stores(30)) as sliced:
        while sliced.run_slice(Budget(instructions=1000, interruptions=interruptions)) == PreemptionTimer():
            slices += 1
    assert (sliced.exits, sliced.vcpu.instructions) == (whole.exits, whole.vcpu.instructions)
    assert COUNTING is None or slices > 30 // interruptions


@given(interruptions=st.integers(1, 7), budget=st.integers(1, 50))
def test_where_slices_end_changes_nothing(interruptions: int, budget: int) -> None:
    text = code("bd 05 00 00 00 e6 80 0f a2 0f 31 4d 75 f7") + VMCALL  # OUT, CPUID and RDTSC, five times
    with Cpu(text) as whole:
        whole.run(1000)
    with Cpu(text) as sliced:
        while sliced.run_slice(Budget(instructions=budget, interruptions=interruptions)) == PreemptionTimer():
            pass
    assert (sliced.exits, sliced.vcpu.instructions) == (whole.exits, whole.vcpu.instructions)
