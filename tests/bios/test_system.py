"""INT 11h, 12h, 14h, 15h, 17h, 18h, 19h and 1Ah, and what nobody serves."""

import struct

import pytest

from kev.addressing import Gpa
from tests.bios.calls import BUFFER, SMAP, Called, interrupt, run, text
from tests.machine.code import code

MIB = 1 << 20
REGION = 20


def address_map(memory: str) -> list[tuple[int, int, int]]:
    """What INT 15h, AX = E820h says, one region after the other."""
    regions, following = [], 0
    while True:
        called = run(interrupt(0x15, eax=0xE820, ebx=following, ecx=REGION, edx=SMAP, edi=BUFFER), memory=memory)
        assert (called.carry, called["eax"], called["ecx"]) == (False, SMAP, REGION)
        regions.append(struct.unpack("<QQI", called.bytes_at(BUFFER, REGION)))
        following = called["ebx"]
        if not following:
            return regions


def test_the_address_map_has_all_of_the_ram() -> None:
    usable = [(base, length) for base, length, kind in address_map("5G") if kind == 1]
    assert usable[0] == (0, 0x9FC00)
    assert usable[1][0] == MIB
    assert usable[-1][0] == 4 << 30
    assert sum(length for _, length in usable) == (5 << 30) - (MIB - 0x9FC00)


def test_the_address_map_ends() -> None:
    called = run(interrupt(0x15, eax=0xE820, ebx=100, ecx=REGION, edx=SMAP, edi=BUFFER))
    assert (called.carry, called["ah"]) == (True, 0x86)


def test_extended_memory_is_told_in_the_older_ways() -> None:
    called = run(interrupt(0x15, eax=0xE801), memory="64M")
    assert (called["ax"], called["bx"], called["cx"], called["dx"]) == (15 * 1024, 48 * 16, 15 * 1024, 48 * 16)
    assert run(interrupt(0x15, eax=0x8800), memory="16M")["ax"] == 15 * 1024
    assert run(interrupt(0x15, eax=0x8800), memory="1G")["ax"] == 0xFC00


def test_base_memory_and_equipment() -> None:
    assert run(interrupt(0x12))["ax"] == 639
    assert run(interrupt(0x11), size=20 * MIB)["ax"] == 0x4222
    assert run(interrupt(0x11))["ax"] == 0x4223, "a diskette"


def test_a_block_is_moved_above_1_mib() -> None:
    source = struct.pack("<HHBBBB", 0xFFFF, 0x7C00, 0, 0x93, 0, 0)
    destination = struct.pack("<HHBBBB", 0xFFFF, 0, 0x20, 0x93, 0, 0)
    table = bytes(16) + source + destination + bytes(16)
    seen: list[bytes] = []
    called = run(
        code("eb 30") + table,
        interrupt(0x15, eax=0x8700, ecx=256, esi=0x7C02),
        at_end=lambda machine: seen.append(machine.vm.memory.read(Gpa(2 * MIB), 512)),
    )
    assert (called.carry, called["ah"]) == (False, 0)
    assert seen == [called.bytes_at(0x7C00, 512)]


def test_address_line_20_is_enabled_for_good() -> None:
    assert not run(interrupt(0x15, eax=0x2401)).carry
    assert run(interrupt(0x15, eax=0x2400)).carry
    assert run(interrupt(0x15, eax=0x2402))["al"] == 1
    assert run(interrupt(0x15, eax=0x2403, ebx=0))["bx"] & 3 == 3


def test_a_wait_lasts_as_long_as_it_is_told() -> None:
    times: list[int] = []
    called = run(interrupt(0x15, eax=0x8600, ecx=0, edx=5000), at_end=lambda machine: times.append(machine.vm.clock.now()))
    assert not called.carry
    assert 5_000_000 <= times[0] < 10_000_000


def test_ticks_are_counted() -> None:
    """18.2 times a second, and each is passed on to INT 1Ch."""
    halts = code("f4 f4 f4 f4")
    called = run(halts, interrupt(0x1A, eax=0))
    assert (called["ah"], called["al"], called["cx"], called["dx"]) == (0, 0, 0, 4)


def test_who_hooks_the_users_tick_is_called() -> None:
    """The handler at 0000:7c02 counts in DI."""
    handler = code("eb 02 ; over it") + code("47 cf ; inc di; iret")
    hook = code("c7 06 70 00 02 7c ; word [0x70] = 0x7c02") + code("c7 06 72 00 00 00")
    assert run(handler, hook, code("31 ff f4 f4 f4"))["di"] == 3


def test_ticks_can_be_set() -> None:
    called = run(interrupt(0x1A, eax=0x0100, ecx=0x12, edx=0x3456), interrupt(0x1A, eax=0))
    assert (called["cx"], called["dx"]) == (0x12, 0x3456)


def test_a_day_that_has_passed_is_told_once() -> None:
    last = interrupt(0x1A, eax=0x0100, ecx=0x18, edx=0x00AF)
    called = run(last, code("f4"), interrupt(0x1A, eax=0), code("89 c6 ; mov si, ax"), interrupt(0x1A, eax=0))
    assert (called["si"] & 0xFF, called["al"], called["cx"], called["dx"]) == (1, 0, 0, 0)


def test_the_real_time_clock_is_read_in_bcd() -> None:
    """A repeatable machine is switched on at the beginning of 1970."""
    called = run(interrupt(0x1A, eax=0x0400))
    assert (called.carry, called["cx"], called["dx"]) == (False, 0x1970, 0x0101)
    called = run(interrupt(0x1A, eax=0x0300, ecx=0x1234, edx=0x5600), interrupt(0x1A, eax=0x0200))
    assert (called["cx"], called["dh"]) == (0x1234, 0x56)


def test_the_pci_bios_finds_what_is_on_the_bus() -> None:
    called = run(interrupt(0x1A, eax=0xB101, edx=0))
    assert (called.carry, called["ah"], called["al"], called["bx"], called["cl"]) == (False, 0, 1, 0x0210, 0)
    assert called["edx"].to_bytes(4, "little") == b"PCI "
    ide = interrupt(0x1A, eax=0xB103, ecx=0x010180, esi=0)
    called = run(ide)
    assert (called.carry, called["bx"]) == (False, 1 << 3 | 1)
    called = run(ide, interrupt(0x1A, eax=0xB109, edi=0))
    assert called["cx"] == 0x8086
    called = run(interrupt(0x1A, eax=0xB102, ecx=0x1237, edx=0x8086, esi=0), interrupt(0x1A, eax=0xB10A, edi=0))
    assert (called["bx"], called["ecx"]) == (0, 0x1237_8086)


def test_the_pci_bios_writes_registers() -> None:
    line = 0x3C
    bus = interrupt(0x1A, eax=0xB103, ecx=0x010180, esi=0)
    called = run(bus, interrupt(0x1A, eax=0xB10B, ecx=0x2A, edi=line), interrupt(0x1A, eax=0xB108, ecx=0x7700, edi=line))
    assert (called.carry, called["cx"]) == (False, 0x772A)


@pytest.mark.parametrize(
    ("function", "registers", "error"),
    [(0x02, {"ecx": 0x1234, "edx": 0x5678, "esi": 0}, 0x86), (0x0A, {"ebx": 0, "edi": 2}, 0x87), (0x0E, {}, 0x81)],
)
def test_the_pci_bios_says_what_it_cannot_do(function: int, registers: dict[str, int], error: int) -> None:
    called = run(interrupt(0x1A, eax=0xB100 | function, **registers))
    assert (called.carry, called["ah"]) == (True, error)


def test_apm_switches_the_machine_off() -> None:
    called = run(interrupt(0x15, eax=0x5300, ebx=0))
    assert (called.carry, called["ax"], called["bx"]) == (False, 0x0102, 0x504D)
    connect, version = interrupt(0x15, eax=0x5301, ebx=0), interrupt(0x15, eax=0x530E, ebx=0, ecx=0x0102)
    off = run(connect, version, interrupt(0x15, eax=0x5307, ebx=1, ecx=3), text("still there"))
    assert (off.output, off.message) == ("", "")


@pytest.mark.parametrize(
    ("function", "registers", "error"),
    [(0x02, {"ebx": 0}, 0x06), (0x03, {"ebx": 0}, 0x08), (0x07, {"ebx": 1, "ecx": 2}, 0x60), (0x0B, {}, 0x80), (0x7F, {}, 0x86)],
)
def test_apm_says_what_it_cannot_do(function: int, registers: dict[str, int], error: int) -> None:
    called = run(interrupt(0x15, eax=0x5300 | function, **registers))
    assert (called.carry, called["ah"], called.warnings) == (True, error, ())


def test_the_serial_line_sends_and_receives() -> None:
    called = run(interrupt(0x14, eax=0x0121, edx=0), interrupt(0x14, eax=0x0200, edx=0))
    assert called.output == "!"
    assert called["ah"] == 0x80, "nothing has come"


def test_a_second_serial_line_and_a_printer_time_out() -> None:
    assert run(interrupt(0x14, eax=0x0300, edx=1))["ah"] == 0x80
    assert run(interrupt(0x17, eax=0x0200, edx=0))["ah"] == 0x01


def test_an_interrupt_that_nobody_serves_is_named_once_and_fails() -> None:
    again = interrupt(0x60, eax=0x1234)
    called = run(code("f8 ; clc"), again, again)
    assert called.carry
    assert called.warnings == ("kev: INT 60h, AH = 12h at 0000:7c07: the BIOS does not serve it, and returned with CF = 1",)


def test_a_function_that_nobody_serves_is_named() -> None:
    called = run(interrupt(0x15, eax=0xD800))
    assert (called.carry, called["ah"]) == (True, 0x86)
    assert called.warnings == ("kev: INT 15h, AH = d8h at 0000:7c06: the BIOS does not serve it, and returned with CF = 1",)


@pytest.mark.parametrize("vector", [0x1B, 0x1C, 0x4A])
def test_interrupts_for_guests_to_serve_do_nothing(vector: int) -> None:
    called = run(code("f8"), interrupt(vector))
    assert (called.carry, called.warnings) == (False, ())


def test_an_exception_ends_the_run_where_it_is() -> None:
    called = run(code("31 db f7 f3 ; xor bx, bx; div bx"))
    assert called.message.endswith("#DE at 0000:7c02, which nobody handles: its vector points to the BIOS")
    called = run(code("0f 0b ; ud2"))
    assert called.message.endswith("#UD at 0000:7c00, which nobody handles: its vector points to the BIOS")


def test_giving_up_ends_the_run() -> None:
    called = run(interrupt(0x18))
    assert called.message.endswith("INT 18h at 0000:7c00: the boot sector has found nothing to boot")


def counted_start(*then: bytes) -> Called:
    """Counts its starts at 0x600, and halts at the second."""
    count = code("ff 06 00 06 83 3e 00 06 02 ; inc word [0x600]; cmp word [0x600], 2")
    return run(count, code("75 02 fa f4 ; jne over cli; hlt"), *then)


def test_the_boot_sector_is_loaded_again_and_started() -> None:
    called = counted_start(code("c6 06 00 7c 90 ; byte [0x7c00] = nop"), interrupt(0x19))
    assert called.bytes_at(0x7C00, 1) == b"\xff", "as on the disk"
    assert called["dl"] == 0
    assert called["sp"] == 0x7C00


def test_a_jump_to_the_reset_vector_starts_again() -> None:
    assert counted_start(code("ea f0 ff 00 f0 ; jmp f000:fff0")).bytes_at(0x600, 2) == b"\2\0"


def test_text_is_typed_between_ticks() -> None:
    assert run(text("a"), code("f4"), text("b")).text == "ab"
