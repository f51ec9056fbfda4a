"""RDRAND and RDSEED with a seed: the same numbers in every run, and another sequence for each vCPU."""

import pytest

from kev import x86
from kev.addressing import MIB
from kev.engine.amdv import layout
from kev.engine.amdv.engine import AmdvEngine
from kev.engine.amdv.pool import HostPool
from kev.engine.base import SINGLE_STEP, Budget
from kev.exits import Vmcall
from kev.page_tables.npt import NptFormat
from kev.page_tables.table import PageTable
from tests.machine.code import VMCALL, code
from tests.machine.cpu import Cpu
from tests.machine.modes import LONG, LONG_USER, PROTECTED, REAL, Mode, cpu_in, handler

NUMBERS = code("""
    0f c7 f3        ; rdrand ebx
    0f c7 fe        ; rdseed esi
    66 0f c7 f7     ; rdrand di; in real mode, edi
    9c 58           ; pushf; pop eax
""")
BUDGET = Budget(seconds=60)


def numbers(mode: Mode, seed: int, vcpu: int = 0, budget: Budget = BUDGET) -> tuple[int, int, int]:
    with cpu_in(mode, NUMBERS + VMCALL, vcpus=2) as cpu:
        cpu.engine.seed_random_numbers(seed)
        state = cpu.vcpus[vcpu]
        while not isinstance(cpu.run_slice(budget, vcpu), Vmcall):
            pass
        assert state.rax & x86.RFLAGS_ARITHMETIC == x86.RFLAGS_CF
        assert state.random_numbers == 3
        return state.rbx, state.rsi, state.rdi


@pytest.mark.parametrize("mode", [REAL, PROTECTED, LONG, LONG_USER], ids=lambda mode: mode.name)
def test_a_seed_makes_the_same_numbers_in_every_run(mode: Mode) -> None:
    first = numbers(mode, 7)
    assert first == numbers(mode, 7) == numbers(mode, 7, budget=SINGLE_STEP)
    assert len({*first, *numbers(mode, 8)}) == 6
    sizes = (2, 2, 4) if mode is REAL else (4, 4, 2)
    assert all(number < 1 << 8 * size for number, size in zip(first, sizes, strict=True))


def test_each_vcpu_has_a_sequence_of_its_own() -> None:
    assert not {*numbers(REAL, 7)} & {*numbers(REAL, 7, vcpu=1)}


def test_a_register_of_64_bits_is_filled() -> None:
    with cpu_in(LONG, code("49 0f c7 f7 ; rdrand r15") + VMCALL) as cpu:
        cpu.engine.seed_random_numbers(1)
        assert cpu.run_slice(BUDGET) == Vmcall()
        assert cpu.vcpu.r15 >> 32


def test_what_is_no_such_instruction_stays_undefined() -> None:
    # LOCK RDRAND, RDRAND with a repeat prefix, and an opcode that there is not.
    for text in ("f0 0f c7 f0", "f3 0f c7 f0", "0f c7 e8"):
        with cpu_in(PROTECTED, code(text)) as cpu:
            cpu.engine.seed_random_numbers(1)
            assert cpu.run_slice(BUDGET) == Vmcall()
            assert cpu.vcpu.rip == handler(6)


def number(seed: int | None) -> int:
    with Cpu(code("0f c7 f0 ; rdrand eax") + VMCALL) as cpu:
        if seed is not None:
            cpu.engine.seed_random_numbers(seed)
        assert cpu.run_slice(BUDGET) == Vmcall()
        return cpu.vcpu.rax


def test_without_a_seed_numbers_are_the_hosts() -> None:
    assert number(3) == number(3)
    assert number(None) != number(None)


def test_the_next_guest_of_a_host_needs_no_seed() -> None:
    hosts = HostPool()
    host = hosts.take(64 * MIB)
    before = layout.cpuid_1_ecx(host.processor.state.address).value
    engine = AmdvEngine(host, PageTable(host.memory, NptFormat()), hosts.give_back)
    engine.seed_random_numbers(3)
    assert layout.cpuid_1_ecx(host.processor.state.address).value != before
    engine.close()
    assert layout.cpuid_1_ecx(host.processor.state.address).value == before
