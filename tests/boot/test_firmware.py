import pytest

from kev.boot.base import BootError
from kev.engine.base import EntryState
from kev.engine.registers import SegmentRegister
from tests.boot.machine import GIB, MIB, Booted
from tests.fs.errors import refused

KIB = 1 << 10


def rom(size: int) -> bytes:
    """Every 16 bytes begin with their number."""
    return b"".join(number.to_bytes(16, "little") for number in range(size // 16))


def test_it_is_entered_at_the_reset_vector() -> None:
    assert Booted(rom(64 * KIB), "firmware").entry == EntryState(
        rip=0xFFF0,
        cs=SegmentRegister(0xF000, 0xFFFF_0000, 0xFFFF, 0x9B),
        data=SegmentRegister(0, 0, 0xFFFF, 0x93),
        cr0=0x30,
        idt_limit=0x3FF,
        gdt_limit=0xFFFF,
    )


@pytest.mark.parametrize("size", [64 * KIB, 256 * KIB, 8 * MIB])
def test_it_ends_at_4_gib_and_its_last_128_kib_at_1_mib(size: int) -> None:
    booted, contents = Booted(rom(size), "firmware"), rom(size)
    assert booted.read(4 * GIB - size, 16) == contents[:16]
    assert booted.read(4 * GIB - 16, 16) == contents[-16:]
    low = min(size, 128 * KIB)
    assert booted.read(MIB - low, 16) == contents[-low:][:16]
    assert booted.read(MIB - 16, 16) == contents[-16:]


def test_its_pages_are_the_images_and_are_loaded_when_they_are_touched() -> None:
    booted = Booted(rom(256 * KIB), "firmware")
    assert booted.pager.image_pages == (256 + 128) // 4
    assert booted.pager.statistics.loads == 0
    booted.read(4 * GIB - 16, 16)
    assert booted.pager.statistics.loads == 1


def test_memory_is_as_large_as_it_is_told() -> None:
    assert Booted(rom(64 * KIB), "firmware", ram=2 * MIB).pager.ram == (range(2 * MIB),)


@pytest.mark.parametrize("size", [0, 60 * KIB, 64 * KIB + 16, 8 * MIB + 4 * KIB])
def test_a_file_of_another_size_is_refused(size: int) -> None:
    message = f"kernel: {size:,} bytes are no firmware: a ROM has whole pages of 4,096 bytes, 64 KiB to 8 MiB"
    with refused(BootError, message):
        Booted(bytes(size), "firmware")


def test_a_command_line_is_refused() -> None:
    with refused(BootError, "command line 'quiet': the firmware boot protocol passes none"):
        Booted(rom(64 * KIB), "firmware", command_line="quiet")
