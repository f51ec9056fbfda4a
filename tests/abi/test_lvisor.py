"""lvisor's ABI."""

import re

import pytest

import kev
from kev.abi.base import HypercallError
from kev.abi.lvisor import Lvisor
from kev.vmexit.cpuid import machine_leaves
from tests.abi.calls import call, load
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


def test_the_processor_is_shown_as_it_is() -> None:
    leaves = Lvisor.cpuid_leaves(machine_leaves(1))
    assert leaves == machine_leaves(1)
    assert leaves[1].ecx >> 31 == 0


def test_lv6_says_hey_and_bye_and_its_tables_are_logged() -> None:
    log: list[bytes] = []
    report = kev.launch("lv6-vmcall", log=log.append)
    assert report.output == b"booting...\nhey 481\nbye 451\n"
    assert report.exit_code == 0
    assert [re.sub(rb"^\[ +\d+\.\d{6}\]", b"", line)[:6] for line in log] == [b" cr3: "] * 2
