"""Write protection of everything, answered quietly: the guest does the same as without, and its instructions count the same."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kev.addressing import PAGE_MASK, PAGE_SIZE, Gpa
from kev.engine.amdv import layout
from kev.engine.amdv.vcpu import TR
from kev.engine.registers import SEGMENTS
from kev.exits import Access, EptViolation, MmioWrite, Vmcall
from tests.machine.code import VMCALL, code
from tests.machine.cpu import Cpu
from tests.machine.modes import LONG, LONG_USER, PROTECTED, REAL, Mode, cpu_in
from tests.machine.test_translated_code import CALL_FIRST, CONTENTS, ROUTINES

DATA = 0x50000
STORES = {
    "a store": code("c7 05 00 00 05 00 11 22 33 44          ; mov dword [DATA], 0x44332211"),
    "a load, then a store": code("a1 00 00 05 00 40 a3 00 00 05 00  ; mov eax, [DATA]; inc eax; mov [DATA], eax"),
    "a locked instruction": code("b8 05 00 00 00 f0 0f c1 05 00 00 05 00    ; mov eax, 5; lock xadd [DATA], eax"),
    "a store across pages": code("c7 05 fe 0f 05 00 11 22 33 44  ; mov dword [DATA + 0xffe], 0x44332211"),
    "a repeated store": code(
        "bf 00 0c 05 00 b9 00 08 00 00 b8 aa aa aa aa f3 ab ; mov edi, DATA + 0xc00; mov ecx, 0x800; rep stosd"
    ),
    "a push of what is read": code("bc 00 10 05 00 ff 35 00 20 05 00 ; mov esp, DATA + 0x1000; push dword [DATA + 0x2000]"),
    "many pushes across pages": code("bc 10 10 05 00 60  ; mov esp, DATA + 0x1010; pusha"),
}


@contextmanager
def protected(cpu: Cpu) -> Iterator[list[EptViolation]]:
    """Everything is there, and nothing may be written until somebody notices: what was noticed."""
    noticed = []

    def answer(violation: EptViolation) -> bool:
        if not violation.access & Access.WRITE or not cpu.table.permit_writes(violation.gpa):
            return False
        noticed.append(violation)
        return True

    cpu.load_everything()
    cpu.engine.answer_quietly(answer)
    cpu.table.protect_writes()
    cpu.engine.forget_mappings()
    yield noticed


def outcome(cpu: Cpu, slice_length: int | None) -> list[object]:
    assert cpu.run(slice_length) == Vmcall()
    vcpu = cpu.vcpu
    pages = [bytes(cpu.page(DATA + offset)) for offset in range(0, 0x3000, PAGE_SIZE)]
    return [vcpu.rip, vcpu.rflags, vcpu.rax, vcpu.rcx, vcpu.rdi, vcpu.rsp, vcpu.instructions, *pages, len(cpu.exits)]


@pytest.mark.parametrize("slice_length", [None, 1, 3])
@pytest.mark.parametrize("text", STORES.values(), ids=STORES)
def test_a_protected_page_is_written_as_any_other(text: bytes, slice_length: int | None) -> None:
    with cpu_in(PROTECTED, text + VMCALL) as cpu:
        cpu.load_everything()
        expected = outcome(cpu, slice_length)
    with cpu_in(PROTECTED, text + VMCALL) as cpu, protected(cpu) as noticed:
        assert outcome(cpu, slice_length) == expected
        pages = [violation.gpa & ~PAGE_MASK for violation in noticed]
        assert DATA in pages
        assert len(set(pages)) == len(pages)


@pytest.mark.parametrize("mode", [REAL, PROTECTED, LONG, LONG_USER], ids=lambda mode: mode.name)
def test_every_mode_meets_the_protection(mode: Mode) -> None:
    with cpu_in(mode, code("90") + VMCALL) as cpu, protected(cpu) as noticed:
        assert cpu.run() == Vmcall()
        assert noticed


def test_the_guests_page_tables_are_written_by_walks() -> None:
    with cpu_in(LONG, code("90") + VMCALL) as cpu, protected(cpu) as noticed:
        cpu.run()
        assert {violation.gpa & ~PAGE_MASK for violation in noticed} >= {0x10000, 0x11000, 0x12000, 0x13000}


def test_a_devices_window_may_be_protected_with_the_rest() -> None:
    with cpu_in(PROTECTED, code("c7 05 00 00 07 00 01 00 00 00  ; mov dword [0x70000], 1") + VMCALL) as cpu:
        cpu.load_everything()
        cpu.table.unmap_page(0x70000)
        cpu.table.map_page(0x70000, cpu.engine.map_window(Gpa(0x70000), PAGE_SIZE))
        with protected(cpu):
            assert cpu.run() == Vmcall()
        assert cpu.told(MmioWrite) == [MmioWrite(Gpa(0x70000), 4, 1)]


@pytest.mark.parametrize("watching", [False, True], ids=["not watching", "watching"])
@pytest.mark.parametrize("slice_length", [None, 3])
@pytest.mark.parametrize("mode", [PROTECTED, LONG], ids=lambda mode: mode.name)
def test_what_was_filled_in_behind_the_cpu_is_executed(mode: Mode, slice_length: int | None, watching: bool) -> None:
    with cpu_in(mode, (CALL_FIRST + VMCALL) * 5, CONTENTS) as cpu:
        for number in range(1, 6):
            page = cpu.page(ROUTINES)
            hpa = cpu.table.translate(ROUTINES)
            assert hpa is not None
            struct.pack_into("<I", page, 1, number)
            cpu.engine.refilled([hpa])
            exit = cpu.run(slice_length)
            assert (exit, cpu.vcpu.rax) == (Vmcall(), number)
            cpu.engine.complete(cpu.vcpu, exit, 0)
            if watching:
                cpu.engine.written(hpa)


@pytest.mark.parametrize("slice_length", [None, 2])
@pytest.mark.parametrize("mode", [REAL, PROTECTED, LONG, LONG_USER], ids=lambda mode: mode.name)
def test_a_vcpu_is_saved_and_goes_on_in_another_engine(mode: Mode, slice_length: int | None) -> None:
    text = code("b8 07 00 00 00 83 c0 01 f9    ; mov eax, 7; add eax, 1; stc") + VMCALL
    with cpu_in(mode, text) as first, cpu_in(mode, text) as second:
        exit = first.run(slice_length)
        saved = first.engine.save_vcpu(first.vcpu)
        second.load_everything()
        for gpa in range(0, 0x100000, PAGE_SIZE):
            second.page(gpa)[:] = first.page(gpa)
        second.engine.load_vcpu(second.vcpu, saved)
        assert second.engine.save_vcpu(second.vcpu) == saved
        assert (second.vcpu.rax, second.vcpu.rflags, second.vcpu.rip) == (first.vcpu.rax, first.vcpu.rflags, first.vcpu.rip)
        assert exit == Vmcall()


@pytest.mark.parametrize(("flags", "loaded"), [(0, 0x8900), (0x8200, 0x8900), (0x0900, 0x8900), (0x8B00, 0x8900), (0x8300, 0x8100)])
def test_a_task_that_the_cpu_would_not_survive_is_not_loaded(flags: int, loaded: int) -> None:
    """TR is at its place behind those of ES to LDTR; its last word says what kind of segment it is."""
    with cpu_in(PROTECTED, VMCALL) as cpu:
        cpu.run()
        saved = cpu.engine.save_vcpu(cpu.vcpu)
        fresh = cpu.vcpu.raw_segment(TR)
        registers = bytearray(saved.registers)
        struct.pack_into("<I", registers, layout.SEGMENTS + 24 * TR + 20, flags)
        cpu.engine.load_vcpu(cpu.vcpu, saved._replace(registers=bytes(registers)))
        assert cpu.vcpu.raw_segment(TR)[3] == loaded
        cpu.engine.load_vcpu(cpu.vcpu, saved)
        assert cpu.vcpu.raw_segment(TR) == fresh
        name = SEGMENTS[TR]
        cpu.vcpu.set_segment(name, cpu.vcpu.segment(name)._replace(access=flags >> 8))
        assert cpu.vcpu.raw_segment(TR)[3] == loaded
