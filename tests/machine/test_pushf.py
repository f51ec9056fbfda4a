"""PUSHF, which never shows RF (Intel SDM vol. 2, "PUSHF")."""

import pytest

from kev.exits import Vmcall
from kev.x86 import RFLAGS_RF
from tests.machine.code import VMCALL, code
from tests.machine.modes import PROTECTED, REAL, cpu_in

SLICES = pytest.mark.parametrize("slice_length", [None, 1, 3])

IRET_WITH_RF = code("66 9c 66 58 66 0d 28 80 c1 ff 66 50 66 0e 66 e8 02 00 00 00 eb 02 66 cf")
"""pushfd; pop eax; or eax, 0xffc18028; push eax; push cs; call $+2; jmp $+2; iretd: IRET leads to the JMP, and that to the end."""


@SLICES
def test_pushf_does_not_show_rf_in_real_mode(slice_length: int | None) -> None:
    with cpu_in(REAL, IRET_WITH_RF + code("66 9c 66 5b ; pushfd; pop ebx") + VMCALL) as cpu:
        assert cpu.run(slice_length) == Vmcall()
        assert cpu.vcpu.rbx == 2
        assert not cpu.vcpu.rflags & RFLAGS_RF


@SLICES
@pytest.mark.parametrize("pages", ["lazy", "awaited"])
@pytest.mark.parametrize(("prefix", "size"), [("", 2), ("66", 4)], ids=["16 bits", "32 bits"])
def test_pushf_in_real_mode_pushes_as_many_bytes_as_its_operand_has(
    prefix: str, size: int, pages: str, slice_length: int | None
) -> None:
    text = code(f"66 bc 02 50 34 12 f9 fd {prefix} 9c ; mov esp, 0x12345002; stc; std; pushf")
    with cpu_in(REAL, text + VMCALL) as cpu:
        cpu.awaits_pages = pages == "awaited"
        assert cpu.run(slice_length) == Vmcall()
        assert cpu.vcpu.rsp == 0x1234_5002 - size
        assert cpu.read(0x5002 - size, size) == 0x403


@SLICES
def test_outside_of_real_mode_it_is_the_cpus_and_counts_once(slice_length: int | None) -> None:
    counts = []
    for text in (
        "f9 9c 58 9c 5b ; stc; pushf; pop eax; pushf; pop ebx",
        "f9 50 58 50 5b ; stc; push eax; pop eax; push eax; pop ebx",
    ):
        with cpu_in(PROTECTED, code(text) + VMCALL) as cpu:
            assert cpu.run(slice_length) == Vmcall()
            assert cpu.vcpu.rax == cpu.vcpu.rbx
            assert cpu.vcpu.rax == 3 or "pushf" not in text
            counts.append(cpu.vcpu.instructions)
    assert counts[0] == counts[1]
