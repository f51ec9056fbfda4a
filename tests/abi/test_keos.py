"""KeV's two hypercalls, in its own ABI and in that of images of which nobody says which they are made for."""

import pytest

from kev.abi.base import GuestAbi
from kev.abi.keos import Keos
from kev.abi.kev import Kev
from kev.machine.ending import EndingKind
from tests.abi.calls import DATA, KVM_ENOSYS, call, launch, load, result
from tests.machine.code import VMCALL, code
from tests.machine.modes import COMPATIBILITY_USER, LONG, LONG_USER, PROTECTED, PROTECTED_USER, TEXT, Mode

EXIT, PRINT = 0, 1
LIMIT = 1 << 20
NO_MEMORY = 0xC000_0000

BOTH = pytest.mark.parametrize("abi", ["keos", "kev", None])
BOTH_TYPES = pytest.mark.parametrize("abi", [Keos, Kev])
EVERY_MODE = pytest.mark.parametrize(
    "mode", [PROTECTED, PROTECTED_USER, LONG, LONG_USER, COMPATIBILITY_USER], ids=lambda mode: mode.name
)


@BOTH
@pytest.mark.parametrize("exit_code", [0, 1, 42, 255])
def test_zero_ends_the_run(abi: str | None, exit_code: int) -> None:
    report = launch(abi, load(rax=EXIT, rdi=exit_code) + VMCALL)
    assert (report.ending.kind, report.exit_code) == (EndingKind.EXITED, exit_code)


@BOTH_TYPES
@EVERY_MODE
@pytest.mark.parametrize("exit_code", [7, 256, 0xFFFFF, -1, -0x100000])
def test_an_exit_code_has_32_bits_in_every_mode(abi: type[GuestAbi], mode: Mode, exit_code: int) -> None:
    called = call(abi, mode, load(rax=EXIT, rdi=exit_code))
    assert called.ended == [exit_code & 0xFFFF_FFFF]
    assert called.rip_moved == 0


@BOTH_TYPES
def test_a_negative_exit_code_may_have_64_bits(abi: type[GuestAbi]) -> None:
    assert call(abi, LONG, load(rax=EXIT) + code("48 c7 c7 fe ff ff ff ; mov rdi, -2")).ended == [0xFFFF_FFFE]


@BOTH
def test_one_prints(abi: str | None) -> None:
    assert result(abi, b"some text", rax=PRINT, rdi=DATA + 5, rsi=4) == (PRINT, b"text")


@BOTH
def test_nothing_can_be_printed(abi: str | None) -> None:
    assert result(abi, rax=PRINT, rdi=0, rsi=0) == (PRINT, b"")


@BOTH_TYPES
@EVERY_MODE
def test_programs_may_print_too(abi: type[GuestAbi], mode: Mode) -> None:
    called = call(abi, mode, load(rax=PRINT, rdi=TEXT, rsi=2))
    assert (called.printed, called.rip_moved) == (b"\xb8\x01", 3 + 2)


@BOTH
def test_the_longest_text_is_printed(abi: str | None) -> None:
    eax, printed = result(abi, b"text", rax=PRINT, rdi=DATA, rsi=LIMIT)
    assert (eax, len(printed), printed[:4]) == (PRINT, LIMIT, b"text")


@pytest.mark.parametrize(
    ("address", "length", "message"),
    [
        (DATA, LIMIT + 1, "hypercall 1 (print) of 1048577 bytes; the limit is 1048576"),
        (NO_MEMORY, 4, "an access goes to gpa 0xc0000000, which is not memory"),
    ],
)
def test_a_text_that_cannot_be_printed_ends_a_run_of_keos(address: int, length: int, message: str) -> None:
    report = launch("keos", load(rax=PRINT, rdi=address, rsi=length) + VMCALL)
    assert report.ending.kind is EndingKind.DIED
    assert report.ending.message.endswith(message)


@pytest.mark.parametrize("abi", ["kev", None])
@pytest.mark.parametrize(("address", "length"), [(DATA, LIMIT + 1), (NO_MEMORY, 4)])
def test_what_cannot_be_text_is_taken_for_the_call_of_kvm_with_that_number(abi: str | None, address: int, length: int) -> None:
    assert result(abi, b"text", rax=PRINT, rdi=address, rsi=length) == (0, b"")


@pytest.mark.parametrize("abi", ["kev", None])
@pytest.mark.parametrize("pointer", [DATA, 0x400000, 0xC0100000, -0x100001])
def test_what_can_be_no_exit_code_is_taken_for_an_unknown_number(abi: str | None, pointer: int) -> None:
    assert result(abi, rax=EXIT, rdi=pointer) == (KVM_ENOSYS, b"")


def test_a_pointer_to_a_kernel_in_the_upper_half_is_no_exit_code() -> None:
    called = call(Kev, LONG, load(rax=EXIT) + code("48 bf 00 00 10 00 00 ff ff ff ; mov rdi, 0xffffff0000100000"))
    assert called.vcpu is not None
    assert (called.ended, called.vcpu.rax) == ([], KVM_ENOSYS % 2**64)


def test_keos_ends_with_whatever_it_says() -> None:
    assert launch("keos", load(rax=EXIT, rdi=0x40002A) + VMCALL).exit_code == 0x2A


def test_for_kvm_alone_neither_is_kevs() -> None:
    assert result("kvm", b"text", rax=EXIT, rdi=1) == (KVM_ENOSYS, b"")
    assert result("kvm", b"text", rax=PRINT, rdi=DATA, rsi=4) == (0, b"")


@pytest.mark.parametrize("abi", ["keos", "kev", "kvm", None])
@pytest.mark.parametrize("number", [2, 12, 0x7FFF_FFFF, -1])
def test_an_unknown_number_does_not_end_the_run(abi: str | None, number: int) -> None:
    assert result(abi, rax=number, rdi=1, rsi=4) == (KVM_ENOSYS, b"")
