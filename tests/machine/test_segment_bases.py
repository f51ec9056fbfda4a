"""The bases of FS and GS in 64-bit mode."""

import struct

import pytest

from kev.engine.base import Budget
from kev.exits import Vmcall
from tests.machine.code import VMCALL, code
from tests.machine.modes import LONG, USER_CODE_64, USER_DATA, USER_STACK, cpu_in

TLS = 0x5000
USER_TEXT = 0x7000
FS_BASE, GS_BASE = 0xC0000100, 0xC0000101


def pushes(*values: int) -> bytes:
    return b"".join(b"\x68" + struct.pack("<I", value) for value in values)


@pytest.mark.parametrize(("msr", "prefix"), [(FS_BASE, "64"), (GS_BASE, "65")], ids=["fs", "gs"])
def test_a_base_that_the_kernel_has_set_survives_the_way_to_user_mode(msr: int, prefix: str) -> None:
    # FS and GS hold the kernel's flat data segment, whose DPL is 0.
    text = (
        code("b9") + struct.pack("<I", msr) + code("b8") + struct.pack("<I", TLS) + code("31 d2 0f 30 ; xor edx, edx; wrmsr")
        + pushes(USER_DATA, USER_STACK, 2, USER_CODE_64, USER_TEXT) + code("48 cf ; iretq")
    )  # fmt: skip
    user = code(f"{prefix} 8b 04 25 08 00 00 00 ; mov eax, fs:[8]") + VMCALL
    with cpu_in(LONG, text, {USER_TEXT: user, TLS + 8: struct.pack("<I", 0x1234)}) as cpu:
        assert cpu.run_slice(Budget(seconds=3)) == Vmcall()
        assert (cpu.vcpu.cpl, cpu.vcpu.rax) == (3, 0x1234)


@pytest.mark.parametrize(("load", "prefix"), [("f3 0f ae d0", "64"), ("f3 0f ae d8", "65")], ids=["wrfsbase", "wrgsbase"])
def test_a_base_that_was_set_without_a_call_of_the_hypervisor_survives_the_way_to_user_mode(load: str, prefix: str) -> None:
    text = (
        code("0f 20 e0 0d 00 00 01 00 0f 22 e0 ; mov eax, cr4; or eax, FSGSBASE; mov cr4, eax\n b8") + struct.pack("<I", TLS)
        + code(load) + pushes(USER_DATA, USER_STACK, 2, USER_CODE_64, USER_TEXT) + code("48 cf ; iretq")
    )  # fmt: skip
    user = code(f"{prefix} 8b 04 25 08 00 00 00 ; mov eax, fs:[8] or gs:[8]") + VMCALL
    with cpu_in(LONG, text, {USER_TEXT: user, TLS + 8: struct.pack("<I", 0x1234)}) as cpu:
        assert cpu.run_slice(Budget(seconds=3)) == Vmcall()
        assert (cpu.vcpu.cpl, cpu.vcpu.rax) == (3, 0x1234)


def test_what_the_kernel_has_loaded_itself_is_gone_in_user_mode() -> None:
    text = (
        code("66 b8 10 00 8e e0 ; mov ax, 0x10; mov fs, ax")
        + pushes(USER_DATA, USER_STACK, 2, USER_CODE_64, USER_TEXT)
        + code("48 cf")
    )
    with cpu_in(LONG, text, {USER_TEXT: code("8c e0 ; mov eax, fs") + VMCALL}) as cpu:
        assert cpu.run_slice(Budget(seconds=3)) == Vmcall()
        assert (cpu.vcpu.cpl, cpu.vcpu.rax & 0xFFFF) == (3, 0)


def test_the_base_that_swapgs_brings_survives_the_way_to_user_mode() -> None:
    text = (
        code("b9 02 01 00 c0 ; mov ecx, KERNEL_GS_BASE\n b8") + struct.pack("<I", TLS) + code("31 d2 0f 30 ; xor edx, edx; wrmsr")
        + code("0f 01 f8 ; swapgs") + pushes(USER_DATA, USER_STACK, 2, USER_CODE_64, USER_TEXT) + code("48 cf ; iretq")
    )  # fmt: skip
    user = code("65 8b 04 25 08 00 00 00 ; mov eax, gs:[8]") + VMCALL
    with cpu_in(LONG, text, {USER_TEXT: user, TLS + 8: struct.pack("<I", 0x1234)}) as cpu:
        assert cpu.run_slice(Budget(seconds=3)) == Vmcall()
        assert (cpu.vcpu.cpl, cpu.vcpu.rax) == (3, 0x1234)
