"""JOS-vmx's ABI."""

import struct

import pytest

import kev
from kev.abi.base import HypercallError
from kev.abi.jos_vmx import JosVmx
from kev.engine.base import EntryState
from kev.engine.registers import DescriptorTable, SegmentRegister
from kev.machine.machine import Machine
from kev.vmexit.cpuid import machine_leaves
from tests.abi.calls import SHOW_RAX, call, launch, load
from tests.boot.images import source
from tests.machine.code import code
from tests.machine.modes import LONG, PROTECTED, Mode

CPUID = code("0f a2")
VMX, HYPERVISOR = 1 << 5, 1 << 31
CR4_VMXE = 1 << 13


def boot_sector(text: bytes) -> bytes:
    return text.ljust(510, b"\xf4") + b"\x55\xaa"


@pytest.mark.parametrize("mode", [PROTECTED, LONG], ids=lambda mode: mode.name)
def test_there_are_no_hypercalls(mode: Mode) -> None:
    with pytest.raises(HypercallError, match=r"^hypercall 0x1: JOS-vmx has none$"):
        call(JosVmx, mode, load(rax=1))


def test_a_kernel_that_makes_one_ends_with_that_on_its_console() -> None:
    report = launch("jos_vmx", load(rax=1) + code("0f 01 c1"))
    assert report.exit_code == 3
    assert report.output is not None
    assert report.output == b"kernel panic: Fatal error: handler not implemented. code:18, ip:100025\n"


def test_the_leaf_that_says_where_a_kernel_is_leaves_the_other_registers_alone() -> None:
    text = load(rax=0xFEEDCAFE, rbx=0x11, rcx=0x22, rdx=0x33) + CPUID
    shown = text + code("01 d8 01 c8 01 d0 ; add eax, ebx; add eax, ecx; add eax, edx") + SHOW_RAX
    report = launch("jos_vmx", shown + code("66 ba 01 05 30 c0 ee ; mov dx, 0x501; xor al, al; out dx, al"))
    assert report.exit_code == 0
    assert report.output == struct.pack("<I", 0xDEADBEEF + 0x66)


def test_elsewhere_the_leaf_is_none() -> None:
    report = kev.launch("jos-vmx", abi="kev")
    assert b"CPUID leaf feedcafe: 00000000" in (report.output or b"")
    assert report.exit_code != 0


def test_there_is_no_vmx_and_no_hypervisor_to_be_seen() -> None:
    leaves = JosVmx.cpuid_leaves(machine_leaves(1))
    assert leaves[1].ecx & (VMX | HYPERVISOR) == 0
    assert 0x40000000 not in leaves


def test_a_boot_sector_is_entered_by_vm_entry() -> None:
    seen: list[tuple[dict[str, int], SegmentRegister, SegmentRegister, DescriptorTable, DescriptorTable]] = []

    def look(machine: Machine) -> None:
        state = machine.vm.vcpus[0].state
        seen.append((machine.registers(), state.cs, state.segment("ss"), state.gdtr, state.idtr))

    kev.launch("jos-vmx", at_start=look)
    ((registers, cs, ss, gdtr, idtr),) = seen
    assert {name: value for name, value in registers.items() if value} == {
        "rip": 0x7C00,
        "rflags": 2,
        "cr0": 0x30,
        "cr4": CR4_VMXE,
    }
    assert cs == ss == SegmentRegister(0, 0, 0xFFFF, 0x93)
    assert (gdtr.limit, idtr.limit) == (0x30, 0x3FF)


def test_kernels_that_are_no_boot_sector_are_entered_as_their_protocol_has_it() -> None:
    state = EntryState(0x100000, SegmentRegister(8, 0, 0, 0), SegmentRegister(16, 0, 0, 0), 0x31)
    assert JosVmx.entry("multiboot1", state) is state


def test_the_guest_may_set_and_clear_cr4_vmxe() -> None:
    text = code(
        """0f 20 e0 ; mov eax, cr4
        0d 00 20 00 00 ; or eax, 0x2000
        0f 22 e0 ; mov cr4, eax
        0f 20 e0 ; mov eax, cr4"""
    )
    report = launch("jos_vmx", text + SHOW_RAX + code("66 ba 01 05 30 c0 ee ; mov dx, 0x501; xor al, al; out dx, al"))
    assert report.output == struct.pack("<I", CR4_VMXE)


def test_what_is_below_4_gib_is_mapped_and_reads_ones_where_nobody_answers() -> None:
    text = code("a1 00 00 00 d0 ; mov eax, [0xd0000000]") + SHOW_RAX
    report = launch("jos_vmx", text + code("66 ba 01 05 30 c0 ee ; mov dx, 0x501; xor al, al; out dx, al"))
    assert (report.exit_code, report.output) == (0, b"\xff\xff\xff\xff")


def panic(qualification: int, linear: int, physical: int) -> bytes:
    """What is printed of an EPT violation at `physical` above 4 GiB."""
    return (
        f"EPT_Violation Error code: {qualification:08x}\n"
        f"EPT_Violation guest_linear_addr: {linear:08x}\n"
        f"EPT_Violation guest_physical_addr: {physical:08x}\n"
        "EPT_Violation guest_physical_addr_high: 00000001\n"
        "kernel panic: EPT_Violation\n"
    ).encode()


INIT_TO_ITSELF = code(
    """c7 05 f0 00 e0 fe ff 01 00 00 ; mov dword [0xfee000f0], 0x1ff: the local APIC is on
    c7 05 10 03 e0 fe 00 00 00 00 ; mov dword [0xfee00310], 0: to APIC id 0
    c7 05 00 03 e0 fe 00 45 00 00 ; mov dword [0xfee00300], 0x4500: INIT
    eb fe ; jmp $"""
)


def test_init_stops_the_virtual_machine() -> None:
    report = launch("jos_vmx", INIT_TO_ITSELF)
    assert (report.exit_code, report.output) == (0, b"VM Stopped\n")


RESETS = {
    "port 0x92": "b0 03 e6 92 ; mov al, 3; out 0x92, al",
    "keyboard controller": "b0 fe e6 64 ; mov al, 0xfe; out 0x64, al",
}


@pytest.mark.parametrize("how", RESETS)
def test_so_does_a_guest_that_resets_the_machine(how: str) -> None:
    """Control, Alt and Delete in JOS: port 0x92."""
    assert launch("jos_vmx", code(RESETS[how]) + code("eb fe ; jmp $")).output == b"VM Stopped\n"
    elsewhere = launch("kev", code(RESETS[how]) + code("eb fe ; jmp $"))
    assert (elsewhere.exit_code, elsewhere.output) == (0, b"")


def test_elsewhere_init_leaves_a_processor_without_anything_to_do() -> None:
    report = launch("kev", INIT_TO_ITSELF)
    assert report.exit_code == 3
    assert report.output == b""


def test_an_ept_violation_is_a_panic_with_qualification_and_addresses() -> None:
    """A page of 4 MiB above 4 GiB, by PSE-36: the guest's own tables are at 2 MiB."""
    text = code(
        """c7 05 00 00 20 00 83 00 00 00 ; mov dword [0x200000], 0x83: 4 MiB from 0 on
        c7 05 04 00 20 00 83 20 00 00 ; mov dword [0x200004], 0x2083: 4 MiB from 4 GiB on
        b8 00 00 20 00 ; mov eax, 0x200000
        0f 22 d8 ; mov cr3, eax
        0f 20 e0 83 c8 10 0f 22 e0 ; CR4.PSE
        0f 20 c0 0d 00 00 00 80 0f 22 c0 ; CR0.PG
        """
    )
    read = launch("jos_vmx", text + code("a1 10 00 40 00 ; mov eax, [0x400010]"))
    assert read.output == panic(1, 0, 0x10)
    assert read.exit_code == 3
    assert "EPT violation at gpa 0x100000010, beyond the 4 GiB that JOS-vmx maps" in read.ending.message
    fetched = launch("jos_vmx", text + code("b8 20 00 40 00 ff e0 ; mov eax, 0x400020; jmp eax"))
    assert fetched.output == panic(0x184, 0x400020, 0x20)


def test_the_guest_finds_itself_inside() -> None:
    report = kev.launch("jos-vmx")
    assert report.exit_code == 0
    assert report.output == b"registers at entry: 00000000\nCPUID leaf feedcafe: deadbeef\n"


def test_a_boot_sector_of_a_users_own_is_entered_so_if_the_abi_is_named() -> None:
    report = kev.launch(source(boot_sector(code("88 d0 e6 e9 ; mov al, dl; out 0xe9, al") + b"\xf4")), abi="jos_vmx", timeout=30)
    assert report.output == b"\0"
