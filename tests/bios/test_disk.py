"""INT 13h."""

import struct

import pytest

from kev.bios.drives import Drive
from tests.bios.calls import BUFFER, interrupt, run
from tests.machine.code import code

SECTORS = [bytes([number]) * 512 for number in range(1, 6)]
MIB = 1 << 20
PACKET = 0x8000
HARD_DISK = 0x80


def packet(first: int, count: int = 1, buffer: int = BUFFER, size: int = 16) -> bytes:
    """Code that writes a packet to PACKET."""
    words = struct.unpack("<4I", struct.pack("<BxHHHQ", size, count, buffer, 0, first))
    return b"".join(code("66 c7 06 ; mov dword [..]") + struct.pack("<HI", PACKET + 4 * i, word) for i, word in enumerate(words))


def test_sectors_are_read_by_cylinder_head_and_sector() -> None:
    called = run(interrupt(0x13, eax=0x0202, ebx=BUFFER, ecx=0x0002, edx=HARD_DISK), disk=SECTORS)
    assert not called.carry
    assert (called["ah"], called["al"]) == (0, 2)
    assert called.bytes_at(BUFFER, 1025) == SECTORS[0] + SECTORS[1] + b"\0"


def test_cylinders_heads_and_sectors_are_counted_as_the_geometry_says() -> None:
    marked = bytearray(20 * MIB)
    place = (16 * 63 * 3 + 63 * 2 + 4) * 512
    marked[place - 512 : place - 508] = b"here"  # behind the boot sector
    called = run(interrupt(0x13, eax=0x0201, ebx=BUFFER, ecx=0x0305, edx=0x0200 | HARD_DISK), disk=[bytes(marked)])
    assert called.bytes_at(BUFFER, 4) == b"here"


class Blank:
    """A disk of which nothing is read."""

    writable = False

    def __init__(self, size: int) -> None:
        self.size = size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        raise AssertionError

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        raise AssertionError

    def flush(self) -> None: ...


@pytest.mark.parametrize(
    ("size", "cylinders", "heads"),
    [(512, 1, 16), (20 * MIB, 40, 16), (504 * MIB, 1024, 16), (600 * MIB, 609, 32), (1 << 40, 1024, 255)],
)
def test_a_disk_has_as_many_heads_as_its_cylinders_need(size: int, cylinders: int, heads: int) -> None:
    assert Drive(HARD_DISK, Blank(size)).geometry == (cylinders, heads, 63)


def test_its_parameters_name_the_last_cylinder_head_and_sector() -> None:
    called = run(interrupt(0x13, eax=0x0800, edx=HARD_DISK), size=20 * MIB)
    assert (called["ch"], called["cl"], called["dh"], called["dl"]) == (39, 63, 15, 1)


def test_a_sector_is_written_and_read_back() -> None:
    called = run(
        interrupt(0x13, eax=0x0301, ebx=0x7C00, ecx=0x0003, edx=HARD_DISK),
        interrupt(0x13, eax=0x0201, ebx=BUFFER, ecx=0x0003, edx=HARD_DISK),
        disk=SECTORS,
    )
    assert called.bytes_at(BUFFER, 512) == called.bytes_at(0x7C00, 512)


def test_sectors_are_read_by_their_number() -> None:
    called = run(packet(2, 3), interrupt(0x13, eax=0x4200, edx=HARD_DISK, esi=PACKET), disk=SECTORS)
    assert (called.carry, called["ah"]) == (False, 0)
    assert called.bytes_at(BUFFER, 1537) == SECTORS[1] + SECTORS[2] + SECTORS[3] + b"\0"


def test_a_sector_is_written_by_its_number() -> None:
    called = run(
        packet(4, buffer=0x7C00),
        interrupt(0x13, eax=0x4300, edx=HARD_DISK, esi=PACKET),
        interrupt(0x13, eax=0x0201, ebx=BUFFER, ecx=0x0005, edx=HARD_DISK),
        disk=SECTORS,
    )
    assert called.bytes_at(BUFFER, 512) == called.bytes_at(0x7C00, 512)


def test_a_read_past_the_end_fails_and_reads_nothing() -> None:
    called = run(packet(5, 2), interrupt(0x13, eax=0x4200, edx=HARD_DISK, esi=PACKET), disk=SECTORS)
    assert (called.carry, called["ah"]) == (True, 4)
    assert called.bytes_at(PACKET + 2, 2) == bytes(2)
    assert called.bytes_at(BUFFER, 512) == bytes(512)


def test_the_last_status_is_kept() -> None:
    called = run(interrupt(0x13, eax=0x0201, ebx=BUFFER, ecx=0x0000, edx=HARD_DISK), interrupt(0x13, eax=0x0100, edx=HARD_DISK))
    assert (called.carry, called["ah"]) == (True, 1)


def test_the_extensions_are_there() -> None:
    called = run(interrupt(0x13, eax=0x4100, ebx=0x55AA, edx=HARD_DISK))
    assert (called.carry, called["bx"], called["cx"] & 1) == (False, 0xAA55, 1)


def test_extended_parameters_have_the_number_of_sectors() -> None:
    called = run(
        code("c7 06") + struct.pack("<HH", BUFFER, 30),
        interrupt(0x13, eax=0x4800, edx=HARD_DISK, esi=BUFFER),
        size=20 * MIB,
    )
    size, flags, cylinders, heads, sectors, total, sector_size = struct.unpack("<HHIIIQH", called.bytes_at(BUFFER, 26))
    assert (size, flags, cylinders, heads, sectors, total, sector_size) == (26, 2, 40, 16, 63, 40960, 512)


def test_a_disk_and_its_size_are_told() -> None:
    called = run(interrupt(0x13, eax=0x1500, edx=HARD_DISK), size=20 * MIB)
    assert (called.carry, called["ah"], called["cx"], called["dx"]) == (False, 3, 0, 40960)


@pytest.mark.parametrize("function", [0x02, 0x08, 0x41, 0x42, 0x48])
def test_a_drive_that_is_not_there_is_refused(function: int) -> None:
    called = run(interrupt(0x13, eax=function << 8 | 1, ebx=0x55AA, ecx=1, edx=0x81, esi=PACKET))
    assert (called.carry, called["ah"]) == (True, 1)


def test_the_number_of_hard_disks_is_in_the_data_area() -> None:
    assert run().bytes_at(0x475, 1) == b"\1"


def fat(sectors: int) -> bytes:
    """The number of sectors and the medium in a parameter block, behind a jump over it."""
    return code("eb 3e 90") + bytes(16) + struct.pack("<HB", sectors, 0xF0) + bytes(42)


def test_a_diskette_is_drive_0_with_its_own_geometry() -> None:
    called = run(fat(2880), code("89 d6 ; mov si, dx"), interrupt(0x13, eax=0x0800, edx=0), size=1440 << 10)
    assert called["si"] == 0
    assert (called["ch"], called["cl"], called["dh"], called["dl"]) == (79, 18, 1, 1)
    assert called.bytes_at(0x475, 1) == b"\0"


def test_what_may_be_a_diskette_or_a_hard_disk_is_both() -> None:
    """The second track of a diskette begins with sector 18, that of a hard disk with sector 63."""
    disk = [bytes([number]) for number in range(1, 64)]
    reads = [
        interrupt(0x13, eax=0x0201, ebx=BUFFER + 512 * index, ecx=1, edx=0x100 | drive) for index, drive in enumerate((0, 0x80))
    ]
    called = run(code("89 d6 ; mov si, dx"), *reads, disk=disk, size=1440 << 10)
    assert (called["si"], called.bytes_at(0x475, 1)) == (0, b"\1")
    assert [called.bytes_at(BUFFER + 512 * index, 1)[0] for index in range(2)] == [18, 63]


def test_what_is_shorter_than_a_diskette_is_the_beginning_of_one() -> None:
    """Boot sectors read as many sectors as their kernel may have some day."""
    mark, read = code("c6 06 00 98 77 ; mov byte [0x9800], 0x77"), {"ebx": BUFFER, "ecx": 2, "edx": 0}
    called = run(mark, interrupt(0x13, eax=0x0211, **read), disk=SECTORS)
    assert (called.carry, called["al"]) == (False, 17)
    assert called.bytes_at(BUFFER, 17 * 512) == b"".join(SECTORS).ljust(17 * 512, b"\0")
    called = run(interrupt(0x13, eax=0x0800, edx=0), disk=SECTORS)
    assert (called["ch"], called["cl"], called["dh"]) == (79, 18, 1)
    assert run(interrupt(0x13, eax=0x0301, ebx=BUFFER, ecx=9, edx=0), disk=SECTORS)["ah"] == 0xCC, "a write fault"
    assert run(interrupt(0x13, eax=0x0211, ebx=BUFFER, ecx=2, edx=HARD_DISK), disk=SECTORS)["ah"] == 0x04


def test_a_diskette_that_may_be_a_hard_disk_has_its_extensions() -> None:
    called = run(interrupt(0x13, eax=0x4100, ebx=0x55AA, edx=0), size=1440 << 10)
    assert (called.carry, called["bx"]) == (False, 0xAA55)
    assert run(fat(2880), interrupt(0x13, eax=0x4100, ebx=0x55AA, edx=0), size=1440 << 10).carry


def test_a_buffer_that_is_no_memory_ends_the_run() -> None:
    flat = code("66 c7 06") + struct.pack("<HI", PACKET + 4, 0xFFFF_FFFF)
    address = code("66 c7 06") + struct.pack("<HI", PACKET + 16, 0xF000_0000)
    called = run(packet(1, size=24), flat, address, interrupt(0x13, eax=0x4200, edx=HARD_DISK, esi=PACKET), disk=SECTORS)
    assert "f0000000" in called.message
