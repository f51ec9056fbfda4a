"""Kernels of a few instructions that find out, on the CPU, what they were handed, and say so on COM1."""

import struct
from typing import Unpack

import pytest

from kev.boot.base import BootOptions, Module
from kev.machine.launcher import prepare, run
from tests.boot.images import KEOS_BASE, MIB, elf, elf_with_note, multiboot1_header, multiboot2_header, note, source
from tests.boot.machine import Options
from tests.machine.code import code

MEMORY = 16 * MIB


def output(image: bytes | bytearray, **options: Unpack[Options]) -> bytes:
    """What a guest prints until it powers itself off."""
    printed = bytearray()
    boot = BootOptions(**options)
    machine = prepare(source(image), memory=MEMORY, boot=boot, output=printed.extend)
    report = run(machine, timeout=10)
    assert report.ending.exit_code == 0, report.ending.message
    return bytes(printed)


def put(code: bytes) -> bytes:
    """32-bit code: `code`, which leaves a character in AL, and its way to COM1."""
    return code + b"\x66\xba\xf8\x03" + b"\xee"  # mov dx, 0x3f8; out dx, al


CHARACTER_AT_EAX = b"\x8a\x00"  # mov al, [eax]
POWER_OFF = b"\x66\xba\x04\x06" + b"\x66\xb8\x00\x20" + b"\x66\xef" + b"\xf4"  # mov dx, 0x604; mov ax, 0x2000; out dx, ax; hlt


def load_eax_from_ebx(offset: int) -> bytes:
    return b"\x8b\x83" + struct.pack("<I", offset)  # mov eax, [ebx + offset]


def test_a_multiboot1_kernel_reads_its_command_line_and_its_module() -> None:
    command_line = put(load_eax_from_ebx(16) + CHARACTER_AT_EAX)  # it begins with the kernel's name
    module = put(load_eax_from_ebx(24) + b"\x8b\x00" + CHARACTER_AT_EAX)  # mov eax, [eax]
    kernel = elf(multiboot1_header() + command_line + module + POWER_OFF, entry=MIB + 12)
    assert output(kernel, command_line="c", modules=(Module("env", source(b"m")),)) == b"km"


def test_a_multiboot2_kernel_reads_the_command_line_behind_its_load_base() -> None:
    header = multiboot2_header()
    text = put(b"\x8a\x43\x20")  # mov al, [ebx + 32]
    assert output(elf(header + text + POWER_OFF, entry=MIB + len(header)), command_line="2") == b"2"


def test_a_keos_kernel_finds_its_information_at_0() -> None:
    magic = put(b"\xc1\xe8\x18")  # shr eax, 24
    at_zero = put(b"\x88\xd8\x04a")  # mov al, bl; add al, "a"
    kernel = elf(magic + at_zero + POWER_OFF, bits=64, base=KEOS_BASE)
    assert output(kernel) == b"\x36a"


def test_a_pvh_kernel_finds_the_magic_number_of_its_start_information() -> None:
    text = put(load_eax_from_ebx(0))  # the magic number's first byte
    kernel = elf_with_note(note(b"Xen\0", 18, struct.pack("<I", MIB)), contents=text + POWER_OFF)
    assert output(kernel) == b"\x78"


READS_THE_SECOND_SECTOR = code("""
    fc  31 c0  8e d8  8e c0         ; cld; xor ax, ax; mov ds, ax; mov es, ax
    ba f2 01  b0 01  ee             ; mov dx, 0x1f2; mov al, 1; out dx, al (one sector)
    42  ee                          ; inc dx; out dx, al (number 1)
    30 c0  42 ee  42 ee             ; xor al, al; the rest of the number
    42  b0 e0  ee                   ; device 0
    42  b0 20  ee                   ; READ SECTORS
    ec  a8 08  74 fb                ; in al, dx; test al, 8; jz: until there is data
    bf 00 7e  b9 00 01  ba f0 01    ; mov di, 0x7e00; mov cx, 256; mov dx, 0x1f0
    f3 6d                           ; rep insw
    be 00 7e  ba f8 03              ; mov si, 0x7e00; mov dx, 0x3f8
    ac  84 c0  74 03  ee  eb f8     ; lodsb; test al, al; jz; out dx, al; jmp: until a zero byte
    e6 f4                           ; out 0xf4, al
""")


@pytest.mark.parametrize("end", [b"", b"\0" * 1000])
def test_a_boot_sector_finds_the_rest_of_its_disk_behind_ide(end: bytes) -> None:
    disk = READS_THE_SECOND_SECTOR.ljust(510, b"\0") + b"\x55\xaaas lazy as any page" + end
    assert output(disk) == b"as lazy as any page"


@pytest.mark.parametrize("channel", [0x1F0, 0x170])
@pytest.mark.parametrize("device", [0xE0, 0xF0])
def test_whoever_waits_for_a_disk_that_is_not_there_goes_on(channel: int, device: int) -> None:
    select = b"\x66\xba" + struct.pack("<H", channel + 6) + bytes((0xB0, device)) + b"\xee"  # mov dx, ...; mov al, ...; out dx, al
    wait = b"\x42" + b"\xec\xa8\x80\x75\xfb"  # inc edx; in al, dx; test al, 0x80; jnz
    status = put(b"\x04a")  # add al, "a"
    kernel = elf(multiboot1_header() + select + wait + status + POWER_OFF, entry=MIB + 12)
    assert output(kernel) == b"a"


def test_a_boot_sector_runs_in_real_mode_and_knows_its_disk() -> None:
    code = (
        b"\x88\xd0"  # mov al, dl
        b"\xba\xf8\x03\xee"  # mov dx, 0x3f8; out dx, al
        b"\xa0\x13\x04"  # mov al, [0x413]
        b"\xee"
        b"\x6a\x61\x58\xee"  # push "a"; pop ax; out dx, al
        b"\xba\x04\x06\xb8\x00\x20\xef\xf4"  # mov dx, 0x604; mov ax, 0x2000; out dx, ax; hlt
    )
    assert output(code.ljust(510, b"\0") + b"\x55\xaa") == bytes([0, 639 & 0xFF]) + b"a"


def test_a_processor_that_disables_its_local_apic_has_none() -> None:
    has_apic = put(
        code(
            "b8 01 00 00 00 0f a2 c1 ea 09 80 e2 01 88 d0 04 30 ; mov eax, 1; cpuid; shr edx, 9; and dl, 1; mov al, dl; add al, '0'"
        )
    )
    disable = code("b9 1b 00 00 00 0f 32 80 e4 f7 0f 30 ; mov ecx, IA32_APIC_BASE; rdmsr; and ah, 0xf7; wrmsr")
    assert output(elf(has_apic + disable + has_apic + POWER_OFF, base=MIB)) == b"10"


def test_a_processor_that_resets_itself_waits_for_a_startup_ipi() -> None:
    """Also at the very beginning of a run: what follows the INIT is not executed."""
    enable = code("bf 00 00 e0 fe c7 87 f0 00 00 00 ff 01 00 00 ; mov edi, 0xfee00000; mov dword [edi + 0xf0], 0x1ff")
    init = code("c7 87 10 03 00 00 00 00 00 00 c7 87 00 03 00 00 00 45 00 00 eb 00 ; ICR: destination 0, INIT; a new block")
    printed = bytearray()
    kernel = elf(enable + init + put(b"\xb0x") + b"\xeb\xfe", base=MIB)
    report = run(prepare(source(kernel), memory=MEMORY, output=printed.extend), timeout=10)
    assert report.ending.message is not None
    assert "vCPU 0 waits for a start-up IPI" in report.ending.message
    assert printed == b""
