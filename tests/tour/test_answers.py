"""Exercises: right answers are taken for right, and of others a line says what is wrong."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kev.addressing import GIB
from kev.page_tables.identity import SHIFT, WholeMachine
from kev.page_tables.table_file import Ept, table_bytes
from kev.tour.catalogue import NAMES, exercise_named, judged, tour_named
from kev.tour.exercise import WrongAnswer
from kev.tour.guests import require_end, see
from tests.abi.calls import DATA, POWER_OFF, kernel, load
from tests.guests.images import read_file
from tests.machine.code import HLT, SPIN, VMCALL, code

ROOT = Path(__file__).parents[2]
TOKEN = re.search(r"kev race replay (kev1-\S+)", (ROOT / "README.md").read_text(encoding="utf-8"))
PRINT = load(rax=1, rdi=DATA, rsi=6) + VMCALL
CLI_HLT = code("fa f4")
SAY = code("8a 06 84 c0 74 05 e6 e9 46 eb f5 ; 1: mov al, [esi]; test al, al; jz 2f; out 0xe9, al; inc esi; jmp 1b; 2:") + POWER_OFF
SAY_INSIDE = load(rsi=DATA) + SAY
SAY_WHERE = (
    code("0f a2 3d ef be ad de ; cpuid; cmp eax, 0xdeadbeef") + load(rsi=DATA) + code("74 05 ; jz 1f") + load(rsi=DATA + 8) + SAY
)


def end(exit_code: int) -> bytes:
    return load(rax=0, rdi=exit_code) + VMCALL


def touch(pages: int) -> bytes:
    """Writes to so many pages from 2 MiB on, and ends."""
    loop = code("c6 07 01 81 c7 00 10 00 00 e2 f5 ; 1: mov byte [edi], 1; add edi, 4096; loop 1b")
    return load(rdi=0x20_0000, rcx=pages) + loop + end(0)


BOOT_SECTOR = code("""
    fa                      ; cli
    66 0f 01 16 40 7c       ; lgdt [0x7c40]
    0f 20 c0 0c 01 0f 22 c0 ; mov eax, cr0; or al, 1; mov cr0, eax
    ea 20 7c 08 00          ; ljmp 8:0x7c20
""").ljust(0x20, b"\x90") + code("""
    be 60 7c 00 00          ; mov esi, 0x7c60
    b9 0a 00 00 00          ; mov ecx, 10
    66 ba e9 00             ; mov dx, 0xe9
    2e ac ee e2 fb          ; 1: cs lodsb; out dx, al; loop 1b
    eb 2b                   ; jmp 0x7c60 + 0x10
""")


@pytest.fixture
def made(tmp_path: Path) -> Callable[[bytes], str]:
    """Writes what a student has made to a file."""

    def write(contents: bytes) -> str:
        file = tmp_path / "made"
        file.write_bytes(contents)
        return str(file)

    return write


def verdict(tour: str, exercise: str, answer: str) -> tuple[bool, str]:
    return judged(exercise_named(tour_named(tour), exercise), answer)


TEXTS = {
    ("keos", "indices"): ("1,5,6,7", "0x1 5 6 8", "PTE: 0x8 (8) is too large"),
    ("keos", "qualification"): ("0x2", "2 1", "'2 1' are 2 numbers, not 1"),
    ("keos", "lost-update"): (TOKEN[1] if TOKEN else "", "kev1-AAV0cmFjZQACcjABAAcM8gEv", "the token is about the trace"),
    ("jos", "entry"): ("0x400077", "0x500077", "0x500077: its address is 0x500000, which is not where the page lies"),
    ("jos", "extended-memory"): ("15728640", "15M", "'15M' is no number such as 4096 or 0x1000"),
    ("jos-vmx", "identity"): ("4151", "0x1031", "0x1031: it permits R--, which is not all there is"),
    ("jos-vmx", "video"): ("0xa0007", "0xa003f", "EPT entry 0xa003f: memory type 7 is reserved"),
    ("jos-vmx", "large"): ("0x2000b7", "0x200037", "0x200037: bit 7, which says whether an upper level maps a page, is wrong"),
    ("jos-vmx", "shifted"): ("0x4100037", "0x100037", "0x100037: its address is 0x100000, which is not where the page lies"),
    ("jos-vmx", "quick"): ("2054", "2048", "the number of pages: 0x800 (2,048) is too small"),
    ("jos-vmx", "mixed"): ("547", "548", "the number of pages: 0x224 (548) is too large"),
    ("jos-vmx", "shadow"): ("180,6", "180,180", "with nested paging: 0xb4 (180) is too large"),
    ("jos-vmx", "reads"): ("4 24", "4 8", "with nested paging: 0x8 (8) is too small"),
    ("lvisor", "log"): ("101000,11b000 0x101000 11B000 101000", "101000 11b000", "there are 2 of writes, which is too few"),
    ("lvisor", "opcodes"): ("48 0f 07, 0f05", "0f 05", "1 of 2 are there"),
    ("lvisor", "star"): ("0x23001000000000", "0x1b001000000000", "SYSRETQ loads CS with 0x2b, not 0x33"),
}
"""The right answer, one that is not, and what is said of it."""


@pytest.mark.parametrize(("tour", "exercise"), TEXTS)
def test_a_text_is_judged(tour: str, exercise: str) -> None:
    right, wrong, message = TEXTS[tour, exercise]
    assert verdict(tour, exercise, right)[0]
    is_right, said = verdict(tour, exercise, wrong)
    assert (is_right, said[: len(message)]) == (False, message)


IMAGES = {
    ("keos", "hello"): (
        kernel(PRINT + end(42), b"hello\n"),
        kernel(PRINT + end(41), b"hello\n"),
        "the guest ends with exit code 41, not 42",
    ),
    ("keos", "touch"): (kernel(touch(99)), kernel(touch(90)), "91 pages are loaded, not 100"),
    ("jos", "mbmap"): (
        kernel(load(rax=1) + VMCALL + CLI_HLT),
        kernel(load(rax=6) + VMCALL + CLI_HLT),
        "hypercall 1 at CPL 0 is missing or comes too early; made were: 6 at CPL 0",
    ),
    ("jos-vmx", "table"): (
        table_bytes(Ept("made", WholeMachine(4 * GIB, SHIFT).build(), None)),
        table_bytes(Ept("made", WholeMachine(4 * GIB).build(), None)),
        "3 ranges are wrong, the first of them 0x0000000000100000-0x00000000001fffff  place: ",
    ),
    ("jos-vmx", "inside"): (
        kernel(load(rax=0xFEEDCAFE) + SAY_WHERE, b"inside\0\0outside\0"),
        kernel(SAY_INSIDE, b"inside\0\0outside\0"),
        "the guest prints b'inside', in which b'outside' is not",
    ),
    ("lvisor", "hypercall"): (
        read_file("lv6-vmcall"),
        kernel(load(rax=0, rdi=481) + VMCALL),
        "hypercall 0 at CPL 3 is missing or comes too early; made were: 0 at CPL 0",
    ),
    ("lvisor", "intercept"): (read_file("lv6"), read_file("lv6-vmcall"), "the guest makes no system call by SYSCALL"),
    ("lvisor", "emulate"): (read_file("lv6"), kernel(HLT), "the guest does not end itself: halted for ever"),
}


@pytest.mark.parametrize(("tour", "exercise"), IMAGES)
def test_an_image_is_judged_by_what_it_does(tour: str, exercise: str, made: Callable[[bytes], str]) -> None:
    right, wrong, message = IMAGES[tour, exercise]
    assert verdict(tour, exercise, made(right))[0]
    is_right, said = verdict(tour, exercise, made(wrong))
    assert (is_right, said[: len(message)]) == (False, message)


def test_every_exercise_is_tried() -> None:
    there_are = {(name, exercise.name) for name in NAMES for exercise in tour_named(name).exercises}
    assert there_are == {*TEXTS, *IMAGES, ("jos", "boot-sector")}


def boot_sector(entry: bytes = BOOT_SECTOR) -> bytes:
    gdt = b"\x17\x00\x48\x7c\x00\x00\x00\x00" + bytes(8) + (0x00CF_9B00_0000_FFFF).to_bytes(8, "little")
    gdt += (0x00CF_9300_0000_FFFF).to_bytes(8, "little")
    sector = entry.ljust(0x40, b"\x90") + gdt
    return (sector + b"protected\n".ljust(16, b"\x90") + POWER_OFF).ljust(510, b"\0") + b"\x55\xaa"


def test_a_boot_sector_is_judged_by_the_mode_that_it_ends_in(made: Callable[[bytes], str]) -> None:
    assert verdict("jos", "boot-sector", made(boot_sector())) == (True, "it is in protected mode when it ends")
    assert "no sector: 512, ending in 55 aa" in verdict("jos", "boot-sector", made(boot_sector()[:511]))[1]
    real = code("be 70 7c b9 0a 00 ba e9 00 ; mov si, 0x7c70; mov cx, 10; mov dx, 0xe9") + code("ac ee e2 fc")
    real += code("ba 04 06 66 b8 00 20 00 00 66 ef ; mov dx, 0x604; mov eax, 0x2000; out dx, eax")
    sector = real.ljust(0x70, b"\x90") + b"protected\n"
    stays = sector.ljust(510, b"\0") + b"\x55\xaa"
    assert verdict("jos", "boot-sector", made(stays)) == (False, "CR0.PE is 0 at the end: the guest has stayed in real mode")


def test_what_cannot_be_launched_is_wrong(tmp_path: Path) -> None:
    assert verdict("keos", "hello", str(tmp_path / "nothing"))[1].startswith(f"{tmp_path}/nothing: there is no such file")
    empty = tmp_path / "empty"
    empty.touch()
    assert not verdict("keos", "hello", str(empty))[0]


def test_a_guest_without_an_end_is_wrong_at_last(made: Callable[[bytes], str]) -> None:
    seen = see(made(kernel(SPIN)), timeout=0.2)
    with pytest.raises(WrongAnswer, match=r"^the guest does not end itself: timed out after 0\.2 s: "):
        require_end(seen)


@pytest.mark.slow
def test_the_kernel_in_the_first_tour_is_a_beginning(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "tours" / "keos.md").read_text(encoding="utf-8")
    source = re.search(r"```asm\n(.*?)```", text, re.DOTALL)
    assert source is not None
    (tmp_path / "hello.S").write_text(source[1])
    zig = [sys.executable, "-m", "ziglang"]
    subprocess.run([*zig, "cc", "-target", "x86-freestanding-none", "-c", "hello.S", "-o", "hello.o"], cwd=tmp_path, check=True)
    link = ["-m", "elf_i386", "-N", "--image-base", "0x100000", "-Ttext", "0x100000", "hello.o", "-o", "hello"]
    subprocess.run([*zig, "ld.lld", *link], cwd=tmp_path, check=True)
    is_right, said = verdict("keos", "hello", str(tmp_path / "hello"))
    assert not is_right
    assert said.startswith("the guest does not end itself: halted for ever: vCPU 0 at RIP 0x10001f in _start+0x13")
