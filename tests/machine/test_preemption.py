"""Slices by the host's clock end between instructions: none is lost, and none is executed twice."""

import itertools
import random
import struct

from kev.engine.base import Budget
from kev.exits import EptViolation, Exit, IoOut, PreemptionTimer
from tests.machine.code import SPIN, code
from tests.machine.cpu import CODE, STACK, Cpu
from tests.machine.modes import PROTECTED, cpu_in, handler

COUNTER = 0x5000
UD2 = code("0f 0b")
SLICES = 400
COUNT = code("""
    43                      ; inc ebx
    ff 05 00 50 00 00       ; inc dword [COUNTER]
    eb 01 90                ; jmp, over a byte, to the next instruction
    41                      ; inc ecx
    83 f9 00                ; cmp ecx, 0
    75 f0                   ; jne to the beginning
""")
AHEAD = {CODE: 0, CODE + 7: 1, CODE + 9: 1, CODE + 10: 1}
"""How far EBX is ahead of ECX, by RIP, where blocks begin."""


def test_registers_and_memory_agree_however_short_slices_are() -> None:
    chance = random.Random(1)
    with Cpu(COUNT, vcpus=2) as cpu:
        for _ in range(SLICES):
            vcpu = chance.randrange(2)
            assert cpu.run_slice(Budget(seconds=chance.uniform(0, 0.001)), vcpu) == PreemptionTimer()
            state = cpu.vcpus[vcpu]
            assert state.rbx - state.rcx == AHEAD[state.rip]
        assert sum(vcpu.rbx for vcpu in cpu.vcpus) & 0xFFFF_FFFF == cpu.read(COUNTER, 4)


def test_counted_slices_leave_registers_and_memory_in_step() -> None:
    with Cpu(COUNT, vcpus=2) as cpu:
        for length, vcpu in zip(
            itertools.islice(itertools.cycle((1, 2, 3, 5, 8, 13)), SLICES), itertools.cycle((0, 1)), strict=False
        ):
            cpu.run_slice(Budget(instructions=length), vcpu)
        assert sum(vcpu.rbx for vcpu in cpu.vcpus) == cpu.read(COUNTER, 4) + sum(vcpu.rip == CODE + 1 for vcpu in cpu.vcpus)


def test_counted_and_other_slices_mix() -> None:
    chance = random.Random(2)
    with Cpu(COUNT) as cpu:
        for _ in range(40):
            cpu.run_slice(Budget(seconds=chance.uniform(0, 0.001)))
            before, length = cpu.vcpu.instructions, chance.randrange(1, 30)
            cpu.run_slice(Budget(instructions=length))
            assert cpu.vcpu.instructions == before + length
        assert cpu.vcpu.rbx & 0xFFFF_FFFF == cpu.read(COUNTER, 4) + (cpu.vcpu.rip == CODE + 1)


def test_a_processor_that_spins_with_interrupts_off_is_preempted() -> None:
    with Cpu(SPIN) as cpu:
        assert cpu.run_slice(Budget(seconds=0.001)) == PreemptionTimer()
        assert cpu.vcpu.rip == CODE


CRITICAL_SECTION = code("""
    fa                      ; cli
    b9 e8 03 00 00          ; mov ecx, 1000
    49                      ; dec ecx
    75 fd                   ; jnz
    fb                      ; sti
    90                      ; nop
    eb f3                   ; jmp to the beginning
""")


def test_one_of_several_is_preempted_where_it_permits_interrupts_if_that_comes_soon() -> None:
    with Cpu(CRITICAL_SECTION, vcpus=2) as cpu:
        cpu.run_slice(Budget(seconds=0.001))
        ends = []
        for _ in range(60):
            assert cpu.run_slice(Budget(seconds=0.0002)) == PreemptionTimer()
            ends.append(cpu.vcpu.interrupts_enabled)
        assert sum(ends) > 30  # chance alone would come to one in a thousand


def test_one_of_several_that_spins_with_interrupts_off_is_preempted_as_well() -> None:
    with Cpu(SPIN, vcpus=2) as cpu:
        for vcpu in (0, 1, 0):
            assert cpu.run_slice(Budget(seconds=0.0005), vcpu) == PreemptionTimer()
        assert cpu.run_slice(Budget(instructions=100)) == PreemptionTimer()
        assert cpu.vcpu.instructions == 100


def test_the_place_of_a_processor_is_its_registers_and_its_stack() -> None:
    with Cpu(code("90 90 54 eb fe ; nop; nop; push esp; jmp $")) as cpu:
        engine, vcpu = cpu.engine, cpu.vcpu
        cpu.page(STACK - 4)
        places = [engine.place(vcpu)]
        for _ in range(3):
            cpu.run_slice(Budget(instructions=1))
            places.append(engine.place(vcpu))
        assert len(set(places)) == 4
        cpu.run_slice(Budget(instructions=1))
        assert engine.place(vcpu) == places[-1]
        cpu.page(STACK - 4)[STACK - 4 & 0xFFF] ^= 1
        assert engine.place(vcpu) != places[-1]
        exits = len(cpu.exits)
        vcpu.rsp = 0x40000  # a page that nobody has touched
        assert engine.place(vcpu) not in places
        assert len(cpu.exits) == exits


def test_one_that_never_stops_exiting_is_preempted() -> None:
    with Cpu(code("e6 10 eb fc ; out 0x10, al; jmp back")) as cpu:
        assert cpu.run_slice(Budget(seconds=0.001)) == PreemptionTimer()


def test_one_that_never_stops_faulting_is_preempted() -> None:
    with cpu_in(PROTECTED, UD2, {handler(6): UD2}) as cpu:
        assert cpu.run_slice(Budget(seconds=0.001)) == PreemptionTimer()


def test_yielding_ends_the_slice_behind_the_exit() -> None:
    def answer(_exit: Exit) -> int:
        cpu.engine.yield_soon()
        return 0

    with Cpu(code("e6 10 eb 00 43 eb fe ; out; jmp next; inc ebx; spin"), answers={IoOut: answer}) as cpu:
        assert cpu.run_slice(Budget(seconds=1)) == PreemptionTimer()
        assert cpu.vcpu.rbx == 0
        assert cpu.vcpu.rip == CODE + 4


def test_yielding_in_a_counted_slice_ends_it_before_the_next_instruction() -> None:
    def answer(_exit: Exit) -> int:
        cpu.engine.yield_soon()
        return 0

    with Cpu(code("e6 10 43 43 eb fe ; out; inc ebx; inc ebx; spin"), answers={IoOut: answer}) as cpu:
        assert cpu.run_slice(Budget(instructions=1000)) == PreemptionTimer()
        assert cpu.vcpu.rip == CODE + 2
        assert cpu.vcpu.instructions == 1


def test_a_slice_can_be_shortened_while_it_runs() -> None:
    def answer(_exit: Exit) -> int:
        cpu.engine.shorten(Budget(instructions=3))
        cpu.engine.shorten(Budget(instructions=500))
        return 0

    with Cpu(code("e6 10 43 43 43 43 eb fe"), answers={IoOut: answer}) as cpu:
        assert cpu.run_slice(Budget(instructions=1000)) == PreemptionTimer()
        assert cpu.vcpu.rbx in (2, 3)
        assert cpu.vcpu.instructions == 1 + cpu.vcpu.rbx


def test_a_slice_by_the_clock_can_be_shortened_while_it_runs() -> None:
    def answer(_exit: Exit) -> int:
        cpu.engine.shorten(Budget(seconds=0.001))
        return 0

    with Cpu(code("e6 10") + SPIN, answers={IoOut: answer}) as cpu:
        assert cpu.run_slice(Budget(seconds=1000)) == PreemptionTimer()


def test_the_instructions_of_a_slice_can_be_counted_on_the_way() -> None:
    counts: list[int] = []

    def answer(_exit: Exit) -> int:
        counts.append(cpu.engine.instructions_in_slice())
        return 0

    with Cpu(code("90 90 e6 10 90 e6 10") + SPIN, answers={IoOut: answer}) as cpu:
        cpu.run_slice(Budget(instructions=100))
        assert counts[1] - counts[0] == 2
        assert counts[0] in (2, 3)
        assert cpu.engine.instructions_in_slice() == 0


def test_a_violation_is_not_counted_twice() -> None:
    """Loads and stores, and instructions whose second page is absent."""
    text = code("a1 00 50 00 00 a3 00 60 00 00 ff 05 00 70 00 00 ; mov eax, [0x5000]; mov [0x6000], eax; inc dword [0x7000]")
    text += b"\xe9" + struct.pack("<i", 0xFFE - len(text) - 5)  # jmp to the end of the page
    text = text.ljust(0xFFE, b"\x90") + code("b8 01 02 03 04 ; mov eax, 0x04030201, across pages")
    for length in (1, 2, 10_000):
        with Cpu(text + code("f4 ; hlt")) as cpu:
            cpu.run(length)
            assert cpu.vcpu.instructions == 3 + 1 + 2
            assert cpu.read(0x7000, 4) == 1
            assert len(cpu.told(EptViolation)) == 5
