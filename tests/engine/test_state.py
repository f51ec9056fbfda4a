"""Registers: what is written is what the guest has, and what the guest has is what is read."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kev import x86
from kev.engine.base import SINGLE_STEP, Budget
from kev.engine.registers import MSRS, SEGMENTS, DescriptorTable, FpuState, PendingEvents, SegmentRegister
from kev.exits import GuestException, PreemptionTimer, Vmcall
from tests.examples import examples
from tests.machine.code import VMCALL, code
from tests.machine.cpu import CODE, REAL_MODE, Cpu
from tests.machine.modes import (
    CODE_64,
    DATA,
    EVERY_MODE,
    GDT,
    IDT,
    LONG,
    LONG_USER,
    PAGE_TABLES,
    PROTECTED,
    PROTECTED_USER,
    TASK,
    TEXT,
    TSS,
    Mode,
    cpu_in,
    handler,
)

MODES = pytest.mark.parametrize("mode", EVERY_MODE, ids=lambda mode: mode.name)
GENERAL = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)), "rip", "rflags")
CONTROL = ("cr0", "cr2", "cr3", "cr4", "efer", "xcr0", "dr0", "dr1", "dr2", "dr3", "dr6", "dr7", "gdtr", "idtr")
BUDGET = Budget(seconds=60)


def run_to_text(cpu: Cpu, vcpu: int = 0) -> None:
    while cpu.vcpus[vcpu].instruction_address != TEXT:
        cpu.run_slice(SINGLE_STEP, vcpu)


def copy(cpu: Cpu, source: int, target: int) -> None:
    """Gives a vCPU everything that another one has."""
    state, other = cpu.vcpus[source], cpu.vcpus[target]
    for name in (*GENERAL, *CONTROL):
        setattr(other, name, getattr(state, name))
    for name in SEGMENTS:
        other.set_segment(name, state.segment(name))
    for index in MSRS:
        other.write_msr(index, state.read_msr(index))
    other.write_fpu(state.read_fpu())
    other.write_events(state.read_events())


@MODES
def test_a_vcpu_that_is_given_the_registers_of_another_goes_on_as_it_would(mode: Mode) -> None:
    # The text adds, pushes, reads its privilege level and ends in INT3.
    text = code("01 d8 50 8c c9 8c d2 cc ; add eax, ebx; push eax; mov ecx, cs; mov edx, ss; int3")
    with cpu_in(mode, text, vcpus=2) as cpu:
        run_to_text(cpu)
        cpu.vcpu.rax, cpu.vcpu.rbx = 0x7FFF_FFFF, 1
        copy(cpu, 0, 1)
        stack = bytes(cpu.page(mode.stack - 1))
        outcomes = []
        for vcpu in (0, 1):
            cpu.page(mode.stack - 1)[:] = stack
            assert cpu.run_slice(BUDGET, vcpu) == Vmcall()
            state = cpu.vcpus[vcpu]
            outcomes.append(
                ([getattr(state, name) for name in GENERAL + CONTROL], [state.segment(name) for name in SEGMENTS], state.cpl)
            )
        assert outcomes[0] == outcomes[1]
        assert cpu.vcpu.instruction_address == handler(3)


@pytest.mark.parametrize("name", SEGMENTS)
def test_a_segment_register_is_what_was_set(name: str) -> None:
    value = SegmentRegister(0x28, 0x1234_5678, 0xFFFF_FFFF, 0x8089 if name == "tr" else 0xC0F3)
    with cpu_in(LONG, VMCALL) as cpu:
        run_to_text(cpu)
        cpu.vcpu.set_segment(name, value)
        assert cpu.vcpu.segment(name) == value
        assert [cpu.vcpu.segment(other) != value for other in SEGMENTS] == [other != name for other in SEGMENTS]


def test_the_base_of_a_segment_counts() -> None:
    with cpu_in(PROTECTED, code("64 a1 08 00 00 00 8b 1d 10 00 00 00 ; mov eax, fs:[8]; mov ebx, [16]") + VMCALL) as cpu:
        run_to_text(cpu)
        cpu.page(0x5000)[0x108:0x118] = struct.pack("<QQ", 7, 9)
        for name in ("fs", "ds"):
            cpu.vcpu.set_segment(name, cpu.vcpu.segment(name)._replace(base=0x5100))
        assert cpu.run_slice(BUDGET) == Vmcall()
        assert (cpu.vcpu.rax, cpu.vcpu.rbx) == (7, 9)


def test_real_mode_can_be_left_for_64_bit_mode_from_outside() -> None:
    with cpu_in(LONG, code("48 8d 05 f9 ff ff ff ; lea rax, [rip - 7]") + VMCALL, vcpus=2) as cpu:
        run_to_text(cpu)
        state = cpu.vcpus[1]
        state.efer = x86.EFER_LME | x86.EFER_LMA | x86.EFER_NXE
        state.cr3, state.cr4 = PAGE_TABLES, x86.CR4_PAE
        state.cr0 = x86.CR0_PROTECTED_MODE | x86.CR0_PG
        state.set_segment("cs", SegmentRegister(CODE_64, 0, 0xFFFF_FFFF, x86.CODE_64))
        state.set_segment("ss", SegmentRegister(DATA, 0, 0xFFFF_FFFF, x86.DATA_32))
        state.set_segment("tr", SegmentRegister(TASK, TSS, 0x6F, 0x8B))
        state.gdtr, state.idtr = DescriptorTable(GDT, 0x57), DescriptorTable(IDT, 0xFFF)
        state.rip, state.rsp = TEXT, 0x9000
        assert cpu.run_slice(BUDGET, 1) == Vmcall()
        assert state.rax == TEXT
        assert state.in_64_bit_mode


def test_the_privilege_level_is_that_of_ss() -> None:
    with cpu_in(PROTECTED_USER, code("fa ; cli")) as cpu:
        run_to_text(cpu)
        assert cpu.vcpu.cpl == 3
        cpu.vcpu.set_segment("cs", SegmentRegister(0x08, 0, 0xFFFF_FFFF, x86.CODE_32))
        cpu.vcpu.set_segment("ss", SegmentRegister(0x10, 0, 0xFFFF_FFFF, x86.DATA_32))
        assert cpu.vcpu.cpl == 0
        assert cpu.run_slice(SINGLE_STEP) == PreemptionTimer()
        assert cpu.vcpu.rip == TEXT + 1


@MODES
@pytest.mark.parametrize("flags", [0x2, 0x8D7, 0x402, 0xCD7])
def test_flags_that_are_set_are_the_guests(mode: Mode, flags: int) -> None:
    with cpu_in(mode, code("9c 58 ; pushf; pop eax") + VMCALL) as cpu:
        run_to_text(cpu)
        cpu.vcpu.rflags = flags
        assert cpu.vcpu.rflags == flags
        assert cpu.run_slice(BUDGET) == Vmcall()
        assert cpu.vcpu.rax & 0xFFFF == flags
        assert cpu.vcpu.rflags & 0xFFFF == flags


def test_the_trap_flag_and_the_interrupt_flag_count_at_once() -> None:
    for flags, vector in ((2 | x86.RFLAGS_TF, 1), (2 | x86.RFLAGS_IF, 0x40)):
        with cpu_in(PROTECTED, code("90 90") + VMCALL) as cpu:
            run_to_text(cpu)
            cpu.engine.raise_interrupt(cpu.vcpu, 0x40)
            cpu.vcpu.rflags = flags
            assert cpu.run_slice(BUDGET) == Vmcall()
            assert cpu.vcpu.rip == handler(vector)


def test_a_new_address_space_counts_at_once() -> None:
    tables = {0x9A000: struct.pack("<I", 0x9B007), 0x9B000 + 4 * 5: struct.pack("<II", 0x95007, 0x6007), 0x95000: code("2a")}
    with cpu_in(PROTECTED, code("a0 00 50 00 00 8a 1d 00 50 00 00") + VMCALL, tables) as cpu:
        run_to_text(cpu)
        cpu.run_slice(SINGLE_STEP)
        cpu.vcpu.cr3 = 0x9A000
        assert cpu.run_slice(BUDGET) == Vmcall()
        assert (cpu.vcpu.rax & 0xFF, cpu.vcpu.rbx & 0xFF) == (0, 0x2A)


def test_what_waits_survives_a_change_of_registers() -> None:
    with cpu_in(PROTECTED, code("90 90") + VMCALL, rflags=2 | x86.RFLAGS_IF) as cpu:
        run_to_text(cpu)
        cpu.engine.raise_nmi(cpu.vcpu)
        cpu.engine.raise_interrupt(cpu.vcpu, 0x40)
        cpu.vcpu.cr3 = cpu.vcpu.cr3
        assert cpu.vcpu.read_events() == PendingEvents(nmi=True)
        assert cpu.run_slice(SINGLE_STEP) == PreemptionTimer()
        assert cpu.vcpu.rip == handler(2)
        assert cpu.engine.interrupt_taken(cpu.vcpu) is None
        assert cpu.vcpu.nmi_blocked


def test_an_interrupt_shadow_survives_a_change_of_registers() -> None:
    with cpu_in(PROTECTED, code("fb 90 90 ; sti; nop; nop")) as cpu:
        run_to_text(cpu)
        cpu.run_slice(SINGLE_STEP)
        assert cpu.vcpu.read_events() == PendingEvents(interrupt_shadow=True)
        cpu.engine.raise_interrupt(cpu.vcpu, 0x40)
        cpu.vcpu.cr0 = cpu.vcpu.cr0
        assert [(cpu.run_slice(SINGLE_STEP), cpu.vcpu.rip)[1] for _ in range(2)] == [TEXT + 2, handler(0x40)]


@pytest.mark.parametrize(
    ("exception", "length"), [(GuestException(13, 0x18), 0), (GuestException(3), 1)], ids=["fault", "software-interrupt"]
)
def test_an_exception_that_waits_can_be_handed_on(exception: GuestException, length: int) -> None:
    with cpu_in(PROTECTED, code("90")) as cpu:
        run_to_text(cpu)
        assert cpu.vcpu.read_events() == PendingEvents()
        cpu.vcpu.write_events(PendingEvents(exception=exception, instruction_length=length))
        assert cpu.vcpu.read_events() == PendingEvents(exception=exception, instruction_length=length)
        assert cpu.run_slice(BUDGET) == Vmcall()
        assert cpu.vcpu.rip == handler(exception.vector)
        slots = [cpu.read(cpu.vcpu.rsp + 4 * slot, 4) for slot in range(2)]
        assert slots[0 if exception.error_code is None else 1] == TEXT
        assert exception.error_code is None or slots[0] == exception.error_code


_FPU_STATES = st.builds(
    FpuState,
    fcw=st.integers(0, 0xFFFF).map(lambda value: value & 0x1F7F | 0x40),
    fsw=st.integers(0, 0xFFFF).map(lambda value: value & 0x7F7F),
    ftw=st.lists(st.sampled_from([0, 3]), min_size=8, max_size=8).map(lambda tags: sum(tag << 2 * n for n, tag in enumerate(tags))),
    fop=st.integers(0, 0x7FF),
    fcs=st.integers(0, 0xFFFF),
    fip=st.integers(0, 2**64 - 1),
    fds=st.integers(0, 0xFFFF),
    fdp=st.integers(0, 2**64 - 1),
    st=st.tuples(*[st.integers(0, 0x7FFD).map(lambda exponent: struct.pack("<QH", 1 << 63 | exponent, exponent + 1))] * 8),
    xmm=st.tuples(*[st.integers(0, 2**128 - 1)] * 16),
    mxcsr=st.integers(0, 0xFFFF).map(lambda value: value & 0xFFBF),
)


def test_the_registers_of_x87_and_sse_are_what_was_set() -> None:
    with Cpu(VMCALL) as cpu:

        @given(_FPU_STATES)
        @settings(max_examples=examples(50), deadline=None)
        def check(values: FpuState) -> None:
            cpu.vcpu.write_fpu(values)
            assert cpu.vcpu.read_fpu() == values

        check()


def test_x87_and_sse_start_as_firmware_leaves_them() -> None:
    with Cpu(VMCALL) as cpu:
        assert cpu.vcpu.read_fpu() == FpuState(fcw=0x37F, fsw=0, ftw=0xFFFF, mxcsr=0x1F80)


def test_the_guest_computes_with_what_was_set() -> None:
    text = code("""
        de c1               ; faddp
        66 0f fe c1         ; paddd xmm0, xmm1
        d9 7c 24 fc         ; fnstcw [esp - 4]
        0f ae 5c 24 f8      ; stmxcsr [esp - 8]
    """)
    one, two = struct.pack("<QH", 1 << 63, 0x3FFF), struct.pack("<QH", 1 << 63, 0x4000)
    three = struct.pack("<QH", 3 << 62, 0x4000)
    with cpu_in(PROTECTED, text + VMCALL) as cpu:
        run_to_text(cpu)
        cpu.vcpu.cr4 |= 1 << 9
        empty = (bytes(10),) * 6
        cpu.vcpu.write_fpu(
            FpuState(fcw=0x37F, fsw=6 << 11, ftw=0x0FFF, st=(one, two, *empty), xmm=(1, 2, *(0,) * 14), mxcsr=0x1FA0)
        )
        assert cpu.run_slice(BUDGET) == Vmcall()
        found = cpu.vcpu.read_fpu()
        assert (found.st[0], found.fsw >> 11 & 7, found.ftw, found.xmm[0]) == (three, 7, 0x3FFF, 3)
        assert (cpu.read(cpu.vcpu.rsp - 4, 2), cpu.read(cpu.vcpu.rsp - 8, 4)) == (0x37F, 0x1FA0)


def test_an_x87_register_that_is_no_number_is_tagged_so() -> None:
    infinity, zero = struct.pack("<QH", 1 << 63, 0x7FFF), bytes(10)
    with Cpu(VMCALL) as cpu:
        cpu.vcpu.write_fpu(FpuState(ftw=0, fsw=0, st=(infinity, zero, *(struct.pack("<QH", 1 << 63, 1),) * 6)))
        assert cpu.vcpu.read_fpu().ftw == 0b0110


def test_model_specific_registers_are_what_was_set() -> None:
    values = {index: 0x8000 + number for number, index in enumerate(MSRS)}
    reads = b"".join(code("b9") + struct.pack("<I", index) + code("0f 32 50 ; rdmsr; push eax") for index in MSRS)
    with cpu_in(PROTECTED, reads + VMCALL) as cpu:
        run_to_text(cpu)
        for index, value in values.items():
            cpu.vcpu.write_msr(index, value)
        assert {index: cpu.vcpu.read_msr(index) for index in MSRS} == values
        stack = cpu.vcpu.rsp
        assert cpu.run_slice(BUDGET) == Vmcall()
        assert [cpu.read(stack - 4 * number, 4) for number in range(1, len(MSRS) + 1)] == list(values.values())
        with pytest.raises(KeyError):
            cpu.vcpu.read_msr(0x1B)


def test_debug_registers_that_are_set_stop_the_guest() -> None:
    with cpu_in(PROTECTED, code("90 90 90") + VMCALL) as cpu:
        run_to_text(cpu)
        cpu.vcpu.dr0, cpu.vcpu.dr7 = TEXT + 2, 0x402
        assert (cpu.vcpu.dr0, cpu.vcpu.dr7) == (TEXT + 2, 0x402)
        assert cpu.run_slice(BUDGET) == Vmcall()
        assert (cpu.vcpu.rip, cpu.vcpu.dr6 & 0xF) == (handler(1), 1)
        cpu.vcpu.dr0 = handler(1)
        cpu.vcpu.dr7 = 0x400
        assert cpu.run_slice(BUDGET) == Vmcall()


def test_registers_of_a_guest_that_is_over_can_be_read() -> None:
    with cpu_in(PROTECTED, code("83 e8 01 ; sub eax, 1") + VMCALL, vcpus=2) as cpu:
        assert cpu.run_slice(BUDGET) == Vmcall()
        before = [[getattr(vcpu, name) for name in GENERAL + CONTROL] for vcpu in cpu.vcpus]
        others = [([vcpu.segment(name) for name in SEGMENTS], vcpu.read_fpu(), vcpu.read_events()) for vcpu in cpu.vcpus]
    assert before == [[getattr(vcpu, name) for name in GENERAL + CONTROL] for vcpu in cpu.vcpus]
    assert others == [([vcpu.segment(name) for name in SEGMENTS], vcpu.read_fpu(), vcpu.read_events()) for vcpu in cpu.vcpus]
    assert before[0][GENERAL.index("rflags")] & x86.RFLAGS_ARITHMETIC == 0x94


def test_counted_runs_keep_their_count_when_registers_change() -> None:
    with cpu_in(LONG_USER, code("90") * 20 + VMCALL) as cpu:
        run_to_text(cpu)
        start = cpu.vcpu.instructions
        for _ in range(5):
            assert cpu.run_slice(Budget(instructions=3)) == PreemptionTimer()
            cpu.vcpu.cr3 = cpu.vcpu.cr3
        assert (cpu.vcpu.instructions - start, cpu.vcpu.rip) == (15, TEXT + 15)


def test_the_entry_state_counts_even_if_registers_were_set_before() -> None:
    with Cpu(VMCALL, entry=REAL_MODE) as cpu:
        cpu.vcpu.rip = CODE + 0x100
        cpu.vcpu.set_segment("ds", SegmentRegister(0x100, 0x1000, 0xFFFF, x86.DATA_16))
        cpu.engine.reset(cpu.vcpu, REAL_MODE)
        assert cpu.run_slice(BUDGET) == Vmcall()
        assert (cpu.vcpu.rip, cpu.vcpu.segment("ds").base) == (CODE, 0)
