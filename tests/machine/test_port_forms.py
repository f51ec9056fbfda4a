"""Every form of IN and OUT, on the CPU."""

import struct

import pytest

from kev.exits import Exit, IoIn, IoOut, Vmcall
from tests.machine.code import VMCALL, code
from tests.machine.modes import EVERY_MODE, LONG, PROTECTED, REAL, TEXT, Mode, cpu_in

KERNEL = pytest.mark.parametrize("mode", [REAL, PROTECTED, LONG], ids=lambda mode: mode.name)
SLICES = pytest.mark.parametrize("slice_length", [None, 1])
DATA = 0x9000
VALUES = {1: 0x88, 2: 0x8877, 4: 0x88776655}


def value(exit: Exit) -> int:
    assert isinstance(exit, IoIn)
    return VALUES[exit.size]


def setup(mode: Mode, **registers: int) -> bytes:
    """MOV of each register, in 32 bits."""
    numbers = {"eax": 0, "ecx": 1, "edx": 2, "esi": 6, "edi": 7}
    prefix = b"\x66" if mode.real else b""
    return b"".join(prefix + bytes([0xB8 + numbers[name]]) + struct.pack("<I", number) for name, number in registers.items())


def sized(mode: Mode, size: int, opcode: int, operand: bytes = b"") -> bytes:
    """An instruction with an operand of `size` bytes; the opcode is that for one byte."""
    default = 2 if mode.real else 4
    prefix = b"\x66" if size != 1 and size != default else b""
    return prefix + bytes([opcode | (size > 1)]) + operand


@SLICES
@KERNEL
@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("immediate", [True, False])
def test_in_loads_as_many_bytes_and_leaves_the_others(mode: Mode, size: int, immediate: bool, slice_length: int | None) -> None:
    instruction = sized(mode, size, 0xE4, b"\x70") if immediate else sized(mode, size, 0xEC)
    text = setup(mode, eax=0x11223344, edx=0xFFFF_1234) + instruction + VMCALL
    with cpu_in(mode, text, answers={IoIn: value}) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert cpu.told(IoIn) == [IoIn(0x70 if immediate else 0x1234, size)]
        assert cpu.vcpu.rax == {1: 0x11223388, 2: 0x11228877, 4: 0x88776655}[size]


@SLICES
@KERNEL
@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("immediate", [True, False])
def test_out_stores_as_many_bytes(mode: Mode, size: int, immediate: bool, slice_length: int | None) -> None:
    instruction = sized(mode, size, 0xE6, b"\xff") if immediate else sized(mode, size, 0xEE)
    text = setup(mode, eax=0xAABBCCDD, edx=0x1234) + instruction + VMCALL
    with cpu_in(mode, text) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert cpu.told(IoOut) == [IoOut(0xFF if immediate else 0x1234, size, 0xAABBCCDD & (1 << 8 * size) - 1)]


@SLICES
@KERNEL
@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("pages", ["lazy", "awaited"])
@pytest.mark.parametrize("backwards", [False, True])
def test_ins_repeats_into_memory_across_pages(mode: Mode, size: int, pages: str, backwards: bool, slice_length: int | None) -> None:
    count, start = 12, DATA - 2 * size
    first = start + (count - 1) * size if backwards else start
    numbers = iter(range(1, count + 1))
    registers = setup(mode, ecx=count, edx=0x60, edi=first)
    text = registers + code("fd" if backwards else "fc") + b"\xf3" + sized(mode, size, 0x6C) + VMCALL
    with cpu_in(mode, text, answers={IoIn: lambda _: next(numbers)}) as cpu:
        cpu.awaits_pages = pages == "awaited"
        assert cpu.run(slice_length) == Vmcall()
        stored = [cpu.read(start + i * size, size) for i in range(count)]
        assert stored == (list(range(count, 0, -1)) if backwards else list(range(1, count + 1)))
        assert cpu.told(IoIn) == [IoIn(0x60, size)] * count
        assert cpu.vcpu.rcx == 0
        assert cpu.vcpu.rdi == (start - size if backwards else start + count * size)


@SLICES
@KERNEL
@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("pages", ["lazy", "awaited"])
def test_outs_repeats_out_of_memory_across_pages(mode: Mode, size: int, pages: str, slice_length: int | None) -> None:
    count, start = 6, DATA - 3 * size
    data = b"".join(number.to_bytes(size, "little") for number in range(0x41, 0x41 + count))
    text = setup(mode, ecx=count, edx=0x60, esi=start) + code("fc f3") + sized(mode, size, 0x6E) + VMCALL
    with cpu_in(mode, text, {start: data}) as cpu:
        cpu.awaits_pages = pages == "awaited"
        assert cpu.run(slice_length) == Vmcall()
        assert cpu.told(IoOut) == [IoOut(0x60, size, number) for number in range(0x41, 0x41 + count)]
        assert (cpu.vcpu.rcx, cpu.vcpu.rsi) == (0, start + count * size)


@pytest.mark.parametrize("mode", EVERY_MODE, ids=lambda mode: mode.name)
def test_a_repetition_of_nothing_touches_no_port(mode: Mode) -> None:
    text = setup(mode, ecx=0, edx=0x10, edi=DATA, esi=DATA) + code("f3 6c f3 6e ; rep insb; rep outsb") + VMCALL
    with cpu_in(mode, text) as cpu:
        assert cpu.run() == Vmcall()
        assert not cpu.told(IoIn)
        assert not cpu.told(IoOut)


def test_the_64_bit_counter_counts_in_64_bits() -> None:
    text = (
        setup(LONG, edx=0x60, edi=DATA) + code("b9 02 00 00 00 ; mov ecx, 2\n f3 67 6c ; rep insb with 32-bit addresses") + VMCALL
    )
    with cpu_in(LONG, text) as cpu:
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.rdi == DATA + 2


def test_flags_survive_port_input_and_output() -> None:
    text = code("b8 ff ff ff ff 83 c0 01 e4 10 e6 10 9c 5b ; mov eax, -1; add eax, 1; in al, 0x10; out 0x10, al; pushf; pop ebx")
    with cpu_in(PROTECTED, text + VMCALL) as cpu:
        assert cpu.run() == Vmcall()
        assert cpu.vcpu.rbx & 0x8D5 == 0x55  # CF PF AF ZF
        assert cpu.vcpu.rip == TEXT + len(text)
