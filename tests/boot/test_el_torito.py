import pytest

from kev.boot.base import BootError
from kev.pager.errors import ImageError
from tests.boot.machine import Booted
from tests.boot.real_mode_images import BOOT_IMAGE_SECTOR, CD_SECTOR, iso
from tests.fs.errors import refused

CONTENTS = bytes(range(256)) * 8


def test_the_boot_image_is_entered_where_boot_sectors_are_and_knows_its_drive() -> None:
    booted = Booted(iso(CONTENTS))
    entry = booted.entry
    assert (entry.rbx, entry.rsi, entry.rdx) == (0x7C0, 0, 0xE0)
    assert booted.read(0x7C00, len(CONTENTS)) == CONTENTS


def test_it_may_have_a_segment_of_its_own() -> None:
    booted = Booted(iso(CONTENTS, segment=0x1000))
    assert booted.entry.rbx == 0x1000
    assert booted.read(0x10000, len(CONTENTS)) == CONTENTS


def test_as_much_is_loaded_as_the_catalog_says() -> None:
    assert Booted(iso(CONTENTS, sectors=1)).read(0x7C00, 1024) == CONTENTS[:512] + bytes(512)


def test_nothing_is_loaded_before_it_is_touched() -> None:
    assert Booted(iso(CONTENTS)).pager.statistics.loads == 0


def test_the_cd_is_a_disk() -> None:
    disk = Booted(iso(CONTENTS)).protocol.boot_disk
    assert disk is not None
    assert disk.size == BOOT_IMAGE_SECTOR * CD_SECTOR + len(CONTENTS)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (bytes(100), "no bootable CD: there is no El Torito boot record at offset 0x8800"),
        (iso(keys=b"\0\0"), "the boot catalog in sector 19 does not begin with a validation entry"),
        (iso(platform=0xEF), "its boot image is for platform 0xef, not for a PC's BIOS (0x0)"),
        (iso(bootable=0), "the boot catalog's first entry is not bootable: 0x0, not 0x88"),
        (iso(media=2), "it is booted as a 1.44 MB diskette, which there is no emulation of"),
        (iso(media=9), "it is booted as medium 9, which there is no emulation of"),
    ],
)
def test_what_cannot_be_booted_is_refused(image: bytes, message: str) -> None:
    with refused(BootError, f"kernel: {message}"):
        Booted(image, "el_torito")


def test_a_catalog_behind_the_end_is_refused() -> None:
    with refused(ImageError, "kernel: its boot catalog ends at offset 0x9840, the file at 0x9800"):
        Booted(iso()[: 19 * CD_SECTOR], "el_torito")


def test_a_command_line_is_refused() -> None:
    with refused(BootError, "command line 'quiet': the el_torito boot protocol passes none"):
        Booted(iso(), command_line="quiet")
