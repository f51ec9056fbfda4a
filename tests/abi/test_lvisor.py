"""lvisor's ABI."""

import re
import struct
from pathlib import Path

import pytest

import kev
from kev.abi.base import HypercallError
from kev.abi.lvisor import Lvisor
from kev.machine.snapshot_at import SnapshotAt
from kev.vmexit.cpuid import machine_leaves
from tests.abi.calls import SHOW_RAX, call, launch, load
from tests.boot.images import source
from tests.guests.images import read_file
from tests.machine.code import code
from tests.machine.modes import COMPATIBILITY_USER, LONG, LONG_USER, PROTECTED, PROTECTED_USER, Mode

HEY, BYE = 0, 1
ENOSYS = -38

PROGRAMS = pytest.mark.parametrize("mode", [PROTECTED_USER, LONG_USER, COMPATIBILITY_USER], ids=lambda mode: mode.name)


@PROGRAMS
def test_hey_is_said(mode: Mode) -> None:
    called = call(Lvisor, mode, load(rax=HEY, rdi=481))
    assert called.vcpu is not None
    assert (called.printed, called.vcpu.rax, called.vcpu.rdi) == (b"hey 481\n", 0, 481)
    assert called.rip_moved == 5


@PROGRAMS
def test_bye_ends_the_guest(mode: Mode) -> None:
    called = call(Lvisor, mode, load(rax=BYE, rdi=451))
    assert (called.printed, called.ended, called.rip_moved) == (b"bye 451\n", [0], 0)


def test_the_argument_is_an_int() -> None:
    assert call(Lvisor, LONG_USER, load(rax=HEY, rdi=-1)).printed == b"hey -1\n"
    assert call(Lvisor, LONG_USER, load(rax=HEY) + code("48 c7 c7 fe ff ff ff ; mov rdi, -2")).printed == b"hey -2\n"
    assert call(Lvisor, LONG_USER, load(rax=HEY, rdi=0x7FFF_FFFF)).printed == b"hey 2147483647\n"


@PROGRAMS
@pytest.mark.parametrize("number", [2, 127, 128, -1])
def test_there_are_no_other_calls(mode: Mode, number: int) -> None:
    called = call(Lvisor, mode, load(rax=number, rdi=1))
    assert called.vcpu is not None
    assert (called.vcpu.rax, called.printed, called.ended) == (ENOSYS % 2**64, b"", [])


@pytest.mark.parametrize("mode", [PROTECTED, LONG], ids=lambda mode: mode.name)
def test_a_kernel_has_no_hypercalls(mode: Mode) -> None:
    with pytest.raises(HypercallError, match=r"^hypercall 0x0 from CPL 0: lvisor serves programs, at CPL 3$"):
        call(Lvisor, mode, load(rax=HEY, rdi=1))


def test_a_guest_finds_kvm_without_features() -> None:
    leaves, machine = Lvisor.cpuid_leaves(machine_leaves(1)), machine_leaves(1)
    assert leaves[1] == machine[1]._replace(ecx=machine[1].ecx | 1 << 31)
    signature = leaves[0x4000_0000]
    assert signature.eax == 0x4000_0001
    assert struct.pack("<III", signature.ebx, signature.ecx, signature.edx) == b"KVMKVMKVM".ljust(12, b"\0")
    assert leaves[0x4000_0001] == (0, 0, 0, 0)
    assert {leaf: leaves[leaf] for leaf in machine if leaf != 1} == {leaf: machine[leaf] for leaf in machine if leaf != 1}


def test_the_guest_may_set_cr4_vmxe() -> None:
    text = code("0f 20 e0 0d 00 20 00 00 0f 22 e0 0f 20 e0 ; CR4 |= 0x2000; mov eax, cr4") + SHOW_RAX
    report = launch("lvisor", text + code("66 ba 01 05 30 c0 ee ; mov dx, 0x501; xor al, al; out dx, al"))
    assert (report.exit_code, report.output) == (0, struct.pack("<I", 1 << 13))


# lv6

KERNEL, PROGRAM = "101000", "11b000"
"""Its page tables, as the log of CR3 has them."""
SERVED_BY_ITSELF = [("lv6", "native"), ("lv6", "emulate")]
SERVED_BY_THE_HYPERVISOR = [("lv6", "intercept"), ("lv6-vmcall", "native")]
WAYS = pytest.mark.parametrize(("guest", "syscall"), SERVED_BY_ITSELF + SERVED_BY_THE_HYPERVISOR)
_TIME = re.compile(rb"^\[ {0,4}\d{1,5}\.\d{6}\] ", re.MULTILINE)


@WAYS
def test_lv6_says_the_same_whoever_serves_its_system_calls(guest: str, syscall: str) -> None:
    report = kev.launch(guest, syscall=syscall, timeout=60)
    assert report.exit_code == 0, report.ending.message
    assert _TIME.sub(b"", report.output or b"") == b"tsc: 1000 MHz\nbooting...\nhey 481\nbye 451\n"


@pytest.mark.parametrize(
    ("guest", "syscall", "tables"),
    [(*way, [KERNEL, PROGRAM, KERNEL, PROGRAM, KERNEL]) for way in SERVED_BY_ITSELF]
    + [(*way, [KERNEL, PROGRAM]) for way in SERVED_BY_THE_HYPERVISOR],
)
def test_the_log_shows_the_page_table_of_who_serves(guest: str, syscall: str, tables: list[str]) -> None:
    log: list[bytes] = []
    kev.launch(guest, syscall=syscall, log=log.append, timeout=60)
    assert [_TIME.sub(b"", line).decode() for line in log] == [f"cr3: {table}\n" for table in tables]


@WAYS
def test_a_seed_repeats_a_run(guest: str, syscall: str) -> None:
    runs = [kev.launch(guest, syscall=syscall, seed=4, timeout=60) for _ in range(2)]
    assert runs[0].output == runs[1].output
    assert runs[0].exits == runs[1].exits


def test_the_hypervisor_serves_what_a_kernel_does_not_know() -> None:
    """A file of which nobody says what it is for: interception alone makes it lvisor's guest."""
    report = kev.launch(source(read_file("lv6")), syscall="intercept", timeout=60)
    assert _TIME.sub(b"", report.output or b"").endswith(b"hey 481\nbye 451\n")
    assert (report.exit_code, report.exits["InvalidOpcode"]) == (0, 3)


@pytest.mark.parametrize("text", ["booting", "hey"])
@pytest.mark.parametrize("syscall", ["intercept", "emulate"])
def test_a_snapshot_keeps_who_carries_system_calls_out(syscall: str, text: str, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    whole = kev.launch("lv6", syscall=syscall, seed=1, snapshot_at=SnapshotAt(f"output:{text}", saved)).output or b""
    after = kev.launch(saved)
    assert after.exit_code == 0
    assert after.output
    assert whole.endswith(after.output)
    assert whole.index(text.encode()) < len(whole) - len(after.output)


def test_programs_of_another_kernel_find_their_registers_and_exceptions_as_without_a_hypervisor() -> None:
    native, emulated = (kev.launch("user", syscall=syscall, timeout=60) for syscall in ("native", "emulate"))
    assert emulated.output == native.output
    assert emulated.exit_code == 0
    assert emulated.exits["InvalidOpcode"] > 10
    assert "InvalidOpcode" not in native.exits
