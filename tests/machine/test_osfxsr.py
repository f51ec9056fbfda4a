"""CR4.OSFXSR, which SSE instructions need, and no others (Intel SDM vol. 3, "Control registers")."""

import pytest

from kev.exits import Vmcall
from tests.machine.code import VMCALL, code
from tests.machine.cpu import Cpu
from tests.machine.modes import LONG, LONG_USER, PROTECTED, TEXT, Mode, cpu_in, delivery

MODES = pytest.mark.parametrize("mode", [PROTECTED, LONG, LONG_USER], ids=lambda mode: mode.name)
SLICES = pytest.mark.parametrize("slice_length", [None, 1, 3])
OPERANDS = code("b8 78 56 34 12 ; mov eax, 0x12345678\n b9 09 00 00 00 ; mov ecx, 9\n f9 ; stc")
SHLX = code("c4 e2 71 f7 d8 ; shlx ebx, eax, ecx")
GENERAL_PURPOSE = {
    "shlx": (SHLX, 0x12345678 << 9 & 0xFFFF_FFFF),
    "shlx of memory": (code("c4 e2 71 f7 1c 24 ; shlx ebx, [esp], ecx"), 0),
    "adcx": (code("bb 01 00 00 00 66 0f 38 f6 d8 ; mov ebx, 1; adcx ebx, eax"), 0x1234567A),
    "crc32": (code("31 db 66 f2 0f 38 f1 d8 ; xor ebx, ebx; crc32 ebx, ax"), 0x55C92A04),
}
SSE = code("66 0f ef c0 ; pxor xmm0, xmm0")
SSSE3 = code("66 0f 38 00 c0 ; pshufb xmm0, xmm0")


@MODES
@SLICES
@pytest.mark.parametrize("name", GENERAL_PURPOSE)
def test_general_purpose_registers_do_not_need_it(mode: Mode, name: str, slice_length: int | None) -> None:
    text, result = GENERAL_PURPOSE[name]
    with cpu_in(mode, OPERANDS + text + VMCALL) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert cpu.vcpu.rip == TEXT + len(OPERANDS + text)
        assert cpu.vcpu.rbx == result


def test_each_counts_once() -> None:
    counts = []
    for text in (SHLX * 3, code("90 ; nop") * 3):
        with cpu_in(LONG, OPERANDS + text + VMCALL) as cpu:
            assert cpu.run(1000) == Vmcall()
            counts.append(cpu.vcpu.instructions)
    assert counts[0] == counts[1]


@MODES
@SLICES
@pytest.mark.parametrize("text", [SSE, SSSE3], ids=["sse2", "ssse3"])
def test_sse_does(mode: Mode, text: bytes, slice_length: int | None) -> None:
    assert undefined(cpu_in(mode, text), mode, slice_length) == TEXT


@SLICES
def test_sse_does_behind_a_write_to_cr4_too(slice_length: int | None) -> None:
    before = OPERANDS + SHLX + code("0f 20 e0 0f 22 e0 ; mov eax, cr4; mov cr4, eax")
    assert undefined(cpu_in(LONG, before + SSE), LONG, slice_length) == TEXT + len(before)


@MODES
@SLICES
@pytest.mark.parametrize("invalid", ["c4 e2 75 f7 d8", "c4 e2 71 f8 d8", "f0 c4 e2 71 f7 d8", "66 0f 38 fa d8"])
def test_what_is_no_instruction_is_undefined(mode: Mode, invalid: str, slice_length: int | None) -> None:
    assert undefined(cpu_in(mode, OPERANDS + code(invalid)), mode, slice_length) == TEXT + len(OPERANDS)


def undefined(made: Cpu, mode: Mode, slice_length: int | None) -> int:
    """Where the invalid opcode is that the code comes to."""
    with made as cpu:
        found = delivery(cpu, mode, cpu.run(slice_length), error_code=False)
        assert found.vector == 6
        return found.rip
