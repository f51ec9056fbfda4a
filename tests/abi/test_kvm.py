"""KVM's ABI, called by code on the engine in every mode."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.abi.keos import Keos
from kev.abi.kev import Kev
from kev.abi.kvm import Kvm
from kev.dev.interrupts.local_apic.message import DeliveryMode, InterruptMessage
from kev.vmexit.cpuid import machine_leaves
from tests.abi.calls import KVM_ENOSYS, call, load, result
from tests.machine.code import code
from tests.machine.modes import COMPATIBILITY_USER, LONG, LONG_USER, PROTECTED, PROTECTED_USER, REAL, Mode

POLL_IRQ, KICK_CPU, CLOCK_PAIRING, SEND_IPI, SCHED_YIELD = 1, 5, 9, 10, 11
KVM_EPERM, KVM_EINVAL = -1, -22
LOGICAL, SHORTHAND, LEVEL_TRIGGERED = 1 << 11, 1 << 18, 1 << 15

KERNEL_MODES = pytest.mark.parametrize(("mode", "bits"), [(PROTECTED, 32), (LONG, 64)], ids=["protected", "long"])
FAMILY = pytest.mark.parametrize("abi", [Kvm, Keos, Kev])


def signed(value: int, bits: int) -> int:
    assert 0 <= value < 1 << bits
    return value - (value >> bits - 1 << bits)


def returned(abi: type[Kvm], mode: Mode, bits: int, **registers: int) -> int:
    called = call(abi, mode, load(**registers))
    assert called.vcpu is not None
    return signed(called.vcpu.rax, bits)


@FAMILY
@KERNEL_MODES
@pytest.mark.parametrize("number", [2, 3, KICK_CPU, CLOCK_PAIRING, SCHED_YIELD, 12, 100, 0x4B56, -1])
def test_a_number_that_cpuid_does_not_announce_is_refused(abi: type[Kvm], mode: Mode, bits: int, number: int) -> None:
    called = call(abi, mode, load(rax=number, rbx=1, rcx=2, rdx=3, rsi=4, rdi=5))
    assert called.vcpu is not None
    assert signed(called.vcpu.rax, bits) == KVM_ENOSYS
    assert (called.vcpu.rbx, called.vcpu.rcx, called.vcpu.rdx, called.vcpu.rsi, called.vcpu.rdi) == (1, 2, 3, 4, 5)
    assert called.rip_moved == 3 + 2
    assert (called.ended, called.printed, called.messages) == ([], b"", [])


def test_a_number_is_64_bits_wide_in_64_bit_mode() -> None:
    called = call(Kvm, LONG, code("48 b8 01 00 00 00 01 00 00 00 ; mov rax, 0x1_0000_0001"))
    assert called.vcpu is not None
    assert signed(called.vcpu.rax, 64) == KVM_ENOSYS


@KERNEL_MODES
def test_zero_is_no_number_of_kvm(mode: Mode, bits: int) -> None:
    assert returned(Kvm, mode, bits, rax=0, rdi=0) == KVM_ENOSYS


@KERNEL_MODES
def test_polling_for_interrupts_does_nothing(mode: Mode, bits: int) -> None:
    called = call(Kvm, mode, load(rax=POLL_IRQ, rdi=0x6000, rsi=4))
    assert called.vcpu is not None
    assert (called.vcpu.rax, called.printed) == (0, b"")


@FAMILY
@pytest.mark.parametrize(
    ("mode", "bits"),
    [(PROTECTED_USER, 32), (COMPATIBILITY_USER, 32), (LONG_USER, 64)],
    ids=["protected", "compatibility", "long"],
)
@pytest.mark.parametrize("number", [KICK_CPU, SEND_IPI, 1000])
def test_programs_may_not_call(abi: type[Kvm], mode: Mode, bits: int, number: int) -> None:
    called = call(abi, mode, load(rax=number, rbx=1, rcx=0, rdx=0, rsi=0x40))
    assert called.vcpu is not None
    assert (signed(called.vcpu.rax, bits), called.messages) == (KVM_EPERM, [])


def test_real_mode_calls_in_16_bit_code() -> None:
    called = call(Kvm, REAL, code("66 b8 05 00 00 00 ; mov eax, 5"))
    assert called.vcpu is not None
    assert signed(called.vcpu.rax, 32) == KVM_ENOSYS


def message(apic_id: int, mode: DeliveryMode = DeliveryMode.FIXED, *, level_triggered: bool = False) -> InterruptMessage:
    return InterruptMessage(mode, 0x40, apic_id, level_triggered=level_triggered, wide=True)


@FAMILY
@KERNEL_MODES
def test_an_interrupt_is_sent_to_every_apic_id_in_the_bitmap(abi: type[Kvm], mode: Mode, bits: int) -> None:
    called = call(abi, mode, load(rax=SEND_IPI, rbx=0b1011, rcx=0, rdx=1, rsi=0x40), vcpus=4)
    assert called.vcpu is not None
    assert called.messages == [message(1), message(2)]
    assert called.vcpu.rax == 2


def test_only_those_that_take_it_are_counted() -> None:
    called = call(Kvm, LONG, load(rax=SEND_IPI, rbx=0b1111, rcx=0, rdx=0, rsi=0x40), deaf=[1, 3])
    assert called.vcpu is not None
    assert (called.vcpu.rax, len(called.messages)) == (2, 4)


@pytest.mark.parametrize(("mode", "expected"), [(PROTECTED, [32, 33]), (LONG, [])], ids=["protected", "long"])
def test_the_second_half_of_the_bitmap_begins_where_a_register_ends(mode: Mode, expected: list[int]) -> None:
    called = call(Kvm, mode, load(rax=SEND_IPI, rbx=0, rcx=0b11, rdx=0, rsi=0x40), vcpus=64)
    assert [sent.destination for sent in called.messages] == expected


@given(low=st.integers(0, 2**32 - 1), high=st.integers(0, 2**32 - 1), first=st.one_of(st.integers(0, 70), st.just(2**32 - 1)))
def test_any_bitmap_reaches_the_processors_that_there_are(low: int, high: int, first: int) -> None:
    called = call(Kvm, PROTECTED, load(rax=SEND_IPI, rbx=low, rcx=high, rdx=first, rsi=0x40), vcpus=64)
    wanted = [first + bit for bit in range(64) if (low | high << 32) >> bit & 1]
    assert [sent.destination for sent in called.messages] == [apic_id for apic_id in wanted if apic_id < 64]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (0x40, message(0)),
        (0x440, message(0, DeliveryMode.NMI)),
        (0x40 | LEVEL_TRIGGERED, message(0, level_triggered=True)),
    ],
)
def test_the_command_is_that_of_the_icr(command: int, expected: InterruptMessage) -> None:
    assert call(Kvm, LONG, load(rax=SEND_IPI, rbx=1, rcx=0, rdx=0, rsi=command)).messages == [expected]


@KERNEL_MODES
@pytest.mark.parametrize("command", [0x40 | LOGICAL, 0x40 | SHORTHAND, 0x40 | 3 * SHORTHAND])
def test_logical_destinations_and_shorthands_are_refused(mode: Mode, bits: int, command: int) -> None:
    assert returned(Kvm, mode, bits, rax=SEND_IPI, rbx=1, rcx=0, rdx=0, rsi=command) == KVM_EINVAL


def test_nobody_is_at_the_highest_apic_id() -> None:
    assert result("kvm", rax=SEND_IPI, rbx=0xFFFF_FFFF, rcx=0, rdx=0xFFFF_FFFF, rsi=0) == (0, b"")


@FAMILY
def test_cpuid_announces_what_there_is(abi: type[Kvm]) -> None:
    leaves = abi.cpuid_leaves(machine_leaves(2))
    signature = leaves[0x40000000]
    assert struct.pack("<III", signature.ebx, signature.ecx, signature.edx) == b"KVMKVMKVM\0\0\0"
    assert signature.eax == 0x40000001
    assert leaves[0x40000001].eax == 1 << 0 | 1 << 3 | 1 << SEND_IPI + 1 | 1 << 24
    assert leaves[1].ecx >> 31 == 1


@FAMILY
def test_the_rest_is_as_the_machine_has_it(abi: type[Kvm]) -> None:
    machine = machine_leaves(3)
    leaves = abi.cpuid_leaves(machine)
    assert {leaf: found for leaf, found in leaves.items() if leaf >> 28 != 4 and leaf != 1} == {
        leaf: found for leaf, found in machine.items() if leaf != 1
    }
    assert (leaves[1].eax, leaves[1].ebx, leaves[1].edx) == (machine[1].eax, machine[1].ebx, machine[1].edx)
    assert leaves[1].ecx & 0x7FFF_FFFF == machine[1].ecx
