import pytest

from kev.boot.base import BootError, Module
from tests.boot.images import MIB, source
from tests.boot.machine import Booted
from tests.boot.real_mode_images import linux16_image
from tests.fs.errors import refused


def test_the_16_bit_code_is_entered_behind_its_header() -> None:
    booted = Booted(linux16_image(b"code"))
    entry = booted.entry
    assert (entry.rbx, entry.rsi, entry.rsp) == (0x9020, 0, 0x9000)
    assert (entry.data.selector, entry.data.base) == (0x9000, 0x90000)
    assert booted.read(0x90240, 4) == b"code"


def test_what_is_behind_the_code_is_at_1_mib() -> None:
    assert Booted(linux16_image(rest=b"rest of it")).read(MIB, 10) == b"rest of it"


def test_nothing_is_loaded_before_it_is_touched() -> None:
    assert Booted(linux16_image()).pager.statistics.loads == 0


def test_the_header_has_loader_heap_and_command_line() -> None:
    booted = Booted(linux16_image(), command_line="one two")
    assert booted.read(0x90210, 2) == b"\xff\x81"
    assert booted.u16(0x90224) == 0x8E00
    assert booted.string(booted.u32(0x90228)) == "one two"
    assert (booted.u32(0x90218), booted.u32(0x9021C)) == (0, 0)


def test_a_module_is_the_ram_disk_at_the_end_of_memory() -> None:
    booted = Booted(linux16_image(), modules=(Module("disk", source(b"disk" * 2000)),))
    start, size = booted.u32(0x90218), booted.u32(0x9021C)
    assert (start, size) == (64 * MIB - 8192, 8000)
    assert booted.read(start, size) == b"disk" * 2000


def test_a_second_module_is_refused() -> None:
    modules = (Module("one", source(b"1")), Module("two", source(b"2")))
    with refused(BootError, "module 'two': the linux16 boot protocol passes one, the initial RAM disk"):
        Booted(linux16_image(), modules=modules)


def test_a_module_that_does_not_fit_is_refused() -> None:
    with refused(BootError, "module 'disk': its 0x100000 bytes do not fit behind the image, which ends at 0x10000a"):
        Booted(linux16_image(), modules=(Module("disk", source(bytes(MIB))),), ram=2 * MIB)


def test_a_long_command_line_is_refused() -> None:
    with refused(BootError, "kernel: the command line has 4096 bytes; there is room for 4095"):
        Booted(linux16_image(), command_line="x" * 4096)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"\xf4", "no Linux boot header: at offset 0x202 is no HdrS"),
        (linux16_image(version=0x201), "its Linux boot header says that it is loaded below 1 MiB, as before Linux 2.4"),
        (linux16_image(load_flags=0), "its Linux boot header says that it is loaded below 1 MiB, as before Linux 2.4"),
        (
            linux16_image(setup_sectors=80),
            "its 16-bit code has 41,472 bytes, the file 41,482",
        ),
        (linux16_image(rest=b""), "its 16-bit code has 1,024 bytes, the file 1,024"),
    ],
)
def test_what_cannot_be_entered_is_refused(image: bytes, message: str) -> None:
    with refused(BootError, f"kernel: {message}"):
        Booted(image, "linux16")
