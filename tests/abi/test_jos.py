"""The ABI of the JOS VMM."""

import struct

import attrs
import pytest

from kev.abi.base import HypercallError
from kev.abi.jos import Jos, memory_map
from kev.addressing import Gpa
from kev.envs.guest_port import Received
from kev.exits import CpuidResult, Vmcall
from kev.machine.ending import EndingKind
from kev.vmexit.cpuid import machine_leaves
from tests.abi.calls import POWER_OFF, SHOW_RAX, Called, call, launch, load
from tests.machine.code import HLT, VMCALL, code
from tests.machine.modes import LONG, LONG_USER, PROTECTED, PROTECTED_USER, Mode, cpu_in, delivery

MBMAP, IPCSEND, IPCRECV, LAPICEOI, BACKTOHOST, GETDISKIMGNUM = range(1, 7)
MAP = 0x6000
MAP_SIZE = 52 + 3 * 24
E_INVAL = -3
MIB = 1 << 20

EVERYWHERE = pytest.mark.parametrize("mode", [PROTECTED, PROTECTED_USER, LONG, LONG_USER], ids=lambda mode: mode.name)
FROM_DATA = pytest.mark.parametrize("mode", [PROTECTED, LONG], ids=lambda mode: mode.name)


def registers(called: Called) -> tuple[int, ...]:
    vcpu = called.vcpu
    assert vcpu is not None
    return vcpu.rax, vcpu.rbx, vcpu.rcx, vcpu.rdx, vcpu.rsi, vcpu.rdi


def test_the_map_is_the_labs_byte_for_byte() -> None:
    assert memory_map(16 * MIB) == bytes.fromhex(
        "40000000" + "00" * 40 + "48000000 34600000"
        "14000000 0000000000000000 00000a0000000000 01000000"
        "14000000 00000a0000000000 0000060000000000 02000000"
        "14000000 0000100000000000 0000f00000000000 01000000"
    )


def test_a_kernel_in_protected_mode_asks_for_the_map() -> None:
    """It shows RAX and RBX, and what RBX points to."""
    program = load(rax=MBMAP, rcx=2, rdx=3) + VMCALL + SHOW_RAX + code("89 d8 ; mov eax, ebx") + SHOW_RAX
    program += code("89 de ba e9 00 00 00 ; mov esi, ebx; mov edx, 0xe9") + load(rcx=MAP_SIZE) + code("f3 6e ; rep outsb")
    output = launch("jos", program + POWER_OFF, memory=16 * MIB).output or b""
    assert struct.unpack("<2I", output[:8]) == (MBMAP, MAP)
    assert output[8:] == memory_map(16 * MIB)


def test_the_map_takes_no_other_register() -> None:
    shown = b"".join(code(text) + SHOW_RAX for text in ("89 d0 ; mov eax, edx", "89 f0 ; mov eax, esi", "89 f8 ; mov eax, edi"))
    report = launch("jos", load(rax=MBMAP, rdx=3, rsi=4, rdi=5) + VMCALL + shown + POWER_OFF)
    assert struct.unpack("<3I", report.output or b"") == (3, 4, 5)


@attrs.define
class Host:
    """A host with an environment that answers 0 and sends what is in `values`."""

    values: list[int] = attrs.field(factory=list)
    sent: list[tuple[int, int, Gpa, int]] = attrs.field(factory=list)
    pages: list[Gpa] = attrs.field(factory=list)

    def send(self, destination: int, value: int, page: Gpa, permissions: int) -> int:
        self.sent.append((destination, value, page, permissions))
        return 0 if destination == 1 else E_INVAL

    def back_to_host(self) -> bool:
        return False

    def is_read_only(self, page: Gpa) -> bool:
        return False

    def receive(self, vcpu: int, page: Gpa) -> Received | None:
        self.pages.append(page)
        return Received(0, self.values.pop(0)) if self.values else None


@EVERYWHERE
def test_a_message_is_sent(mode: Mode) -> None:
    host = Host()
    called = call(Jos, mode, load(rax=IPCSEND, rbx=1, rcx=3, rdx=0x9000, rsi=7), ipc=host)
    assert host.sent == [(1, 3, 0x9000, 7)]
    assert registers(called)[:5] == (0, 1, 3, 0x9000, 7)


def test_an_error_of_the_host_is_returned() -> None:
    called = call(Jos, LONG, load(rax=IPCSEND, rbx=2, rcx=3, rdx=0x9000, rsi=7), ipc=Host())
    assert registers(called)[0] == E_INVAL % 2**64


def test_the_value_sent_has_32_bits() -> None:
    host = Host()
    call(Jos, LONG, load(rax=IPCSEND, rbx=1, rdx=0x9000, rsi=7) + code("48 c7 c1 ff ff ff ff ; mov rcx, -1"), ipc=host)
    assert host.sent[0][1] == 0xFFFF_FFFF


def test_without_a_host_there_is_nobody_to_send_to() -> None:
    called = call(Jos, LONG, load(rax=IPCSEND, rbx=1, rcx=3, rdx=0x9000, rsi=7))
    assert registers(called)[0] == E_INVAL % 2**64


@EVERYWHERE
def test_a_message_is_received(mode: Mode) -> None:
    host = Host([5])
    called = call(Jos, mode, load(rax=IPCRECV, rbx=0x9000, rsi=1), ipc=host)
    assert (registers(called)[0], registers(called)[4]) == (0, 5)
    assert host.pages == [0x9000]


def test_a_negative_value_is_received_zero_extended() -> None:
    assert registers(call(Jos, LONG, load(rax=IPCRECV, rbx=0x9000), ipc=Host([-8])))[4] == -8 % 2**32


def test_rip_moves_on_before_the_wait_for_a_message() -> None:
    called = call(Jos, LONG, load(rax=IPCRECV, rbx=0x9000, rsi=7), ipc=Host())
    assert called.rip_moved == len(VMCALL) + 2
    assert (registers(called)[0], registers(called)[4]) == (0, 7)


def test_without_a_host_there_is_nobody_to_receive_from() -> None:
    with pytest.raises(HypercallError, match=r"there is no host environment to receive from"):
        call(Jos, LONG, load(rax=IPCRECV, rbx=0x9000))


@EVERYWHERE
def test_the_end_of_an_interrupt_leaves_all_registers(mode: Mode) -> None:
    called = call(Jos, mode, load(rax=LAPICEOI, rbx=1, rcx=2, rdx=3, rsi=4, rdi=5))
    assert registers(called) == (LAPICEOI, 1, 2, 3, 4, 5)


@EVERYWHERE
@pytest.mark.parametrize("number", [1, 3])
def test_a_guest_is_told_which_one_it_is(mode: Mode, number: int) -> None:
    assert registers(call(Jos, mode, load(rax=GETDISKIMGNUM), guest_number=number))[0] == number


def test_a_guest_can_be_left() -> None:
    report = launch("jos", load(rax=BACKTOHOST) + VMCALL)
    assert (report.ending.kind, report.exit_code) == (EndingKind.EXITED, 0)
    assert report.output == b"Now back to the host, VM halt in the background, run vmmanager to resume the VM.\n"


@pytest.mark.parametrize("number", [0, 7, 8, 9, 0x1234, -1])
def test_an_unknown_number_ends_the_guest_with_a_dump(number: int) -> None:
    report = launch("jos", load(rax=number) + VMCALL)
    assert report.ending.kind is EndingKind.DIED
    assert f"hypercall {number % 2**32:#x} is not one of the JOS VMM's: 1 to 6" in report.ending.message
    lines = (report.output or b"").decode().splitlines()
    assert lines[:2] == ["Unhandled VMEXIT, aborting guest.", "vmx: --- Begin VCPU Dump ---"]
    assert lines[2].startswith(f"vmx: RIP 0x{MIB + 32 + 5:016x} RSP 0x")
    assert lines[3:] == [f"vmx: CR0 0x{0x31:016x} CR3 0x{0:016x}", f"vmx: CR4 0x{0:016x} ", "vmx: --- End VCPU Dump ---"]


def test_hlt_with_interrupts_off_is_the_shutdown() -> None:
    report = launch("jos", HLT)
    assert (report.ending.kind, report.exit_code) == (EndingKind.EXITED, 0)
    assert report.output == b"\nHLT in guest, exiting guest.\n"


def test_a_guest_that_has_ended_otherwise_has_not_been_shut_down() -> None:
    assert launch("jos", POWER_OFF).output == b""


def test_cpuid_shows_neither_vmx_nor_a_hypervisor() -> None:
    machine = machine_leaves(1)
    with_vmx = {**machine, 1: machine[1]._replace(ecx=machine[1].ecx | 1 << 5)}
    leaves = Jos.cpuid_leaves(with_vmx)
    assert leaves[1] == machine[1]
    assert leaves[1].ecx >> 31 == 0
    assert leaves.get(0x40000000, CpuidResult(0, 0, 0, 0)) == CpuidResult(0, 0, 0, 0)


def test_cr4_vmxe_may_be_set() -> None:
    set_cr4 = load(rax=0x2020) + code("0f 22 e0 31 c0 0f 20 e0 ; mov cr4, eax; xor eax, eax; mov eax, cr4")
    assert struct.unpack("<I", launch("jos", set_cr4 + SHOW_RAX + POWER_OFF).output or b"") == (0x2020,)
    assert "exception 13" in launch("kvm", set_cr4 + SHOW_RAX + POWER_OFF).ending.message


@FROM_DATA
@pytest.mark.parametrize("slice_length", [None, 1])
def test_exceptions_are_delivered_while_cr4_vmxe_is_set(mode: Mode, slice_length: int | None) -> None:
    text = code("0f 20 e0 0d 00 20 00 00 0f 22 e0 cd 80 ; mov eax, cr4; or eax, VMXE; mov cr4, eax; int 0x80")
    with cpu_in(mode, text) as cpu:
        cpu.engine.permit_cr4(Jos.extra_cr4)
        exit = cpu.run(slice_length)
        assert exit == Vmcall()
        assert delivery(cpu, mode, exit, error_code=False).vector == 0x80
        assert cpu.vcpu.cr4 & Jos.extra_cr4
