"""CPUID, as the processors of a machine answer it."""

import struct

import pytest

from kev.abi.selection import ABIS, abi_named
from kev.exits import Cpuid, CpuidResult
from kev.vmexit.cpuid import CpuidController, machine_leaves
from tests.abi.calls import launch
from tests.machine.code import HLT, code
from tests.machine.cpu import Cpu

APIC, HTT, VMX, X2APIC, TSC_DEADLINE = 1 << 9, 1 << 28, 1 << 5, 1 << 21, 1 << 24
ABSENT = CpuidResult(0, 0, 0, 0)


def answer(leaf: int, subleaf: int = 0, *, vcpu: int = 0, vcpus: int = 4, abi: str = "keos", apic: bool = True) -> CpuidResult:
    controller = CpuidController(abi_named(abi).cpuid_leaves(machine_leaves(vcpus)), vcpus, lambda _: apic, {})
    with Cpu(HLT, vcpus=vcpus) as cpu:
        return controller.handle(cpu.vcpus[vcpu], Cpuid(leaf, subleaf))


def test_a_processor_says_its_number() -> None:
    assert answer(1, vcpu=3).ebx == 3 << 24 | 4 << 16 | 8 << 8
    assert answer(0xB, 0, vcpu=3).edx == answer(0xB, 1, vcpu=3).edx == 3


def test_several_processors_are_in_one_package() -> None:
    assert answer(1, vcpus=1).edx & HTT == 0
    assert answer(1, vcpus=2).edx & HTT
    assert answer(0xB, 1, vcpus=5) == CpuidResult(3, 5, 2 << 8 | 1, 0)
    assert answer(0xB, 2) == CpuidResult(0, 0, 2, 0)


def test_without_its_local_apic_a_processor_has_none() -> None:
    assert answer(1).edx & APIC
    assert answer(1, apic=False).edx & APIC == 0


def test_subleaves_count_where_there_are_some() -> None:
    assert answer(7) != ABSENT
    assert answer(7, 1) == ABSENT
    assert answer(0, 5) == answer(0)


def test_leaves_that_there_are_not_are_zero() -> None:
    assert [answer(leaf) for leaf in (2, 0xA, 0x40000002, 0x80000005, 0xFFFFFFFF)] == [ABSENT] * 5


@pytest.mark.parametrize("abi", ABIS)
def test_no_guest_sees_vmx(abi: str) -> None:
    assert answer(1, abi=abi).ecx & VMX == 0


@pytest.mark.parametrize(
    ("instruction", "exception"),
    [
        ("b9 82 04 00 00 0f 32 ; mov ecx, IA32_VMX_PROCBASED_CTLS; rdmsr", "exception 13"),
        ("b8 00 20 00 00 0f 22 e0 ; mov eax, CR4_VMXE; mov cr4, eax", "exception 13"),
        ("f3 0f c7 35 00 00 20 00 ; vmxon [0x200000]", "exception 6"),
    ],
)
def test_a_hypervisor_that_does_not_ask_finds_no_vmx_either(instruction: str, exception: str) -> None:
    report = launch("kev", code(instruction))
    assert f"triple fault that began with {exception}" in report.ending.message


@pytest.mark.parametrize("abi", ABIS)
def test_every_guest_sees_the_processor(abi: str) -> None:
    vendor = answer(0, abi=abi)
    assert struct.pack("<III", vendor.ebx, vendor.edx, vendor.ecx) == b"GenuineIntel"
    assert answer(1, abi=abi).ecx & (X2APIC | TSC_DEADLINE) == X2APIC | TSC_DEADLINE
