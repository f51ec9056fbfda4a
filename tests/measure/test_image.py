"""Images of any size that boot like a small one."""

from pathlib import Path

import pytest

from kev.addressing import GIB, MIB, PAGE_SIZE
from kev.guests.images import open_root_file_system
from kev.measure.errors import BenchError
from kev.measure.image import write_padded_image
from kev.measure.launches import Launch
from kev.pager.image import KernelImage, Segment
from kev.pager.policy import PagingPolicy
from kev.pager.source import FileSource


def guest(name: str) -> bytes:
    with open_root_file_system() as files:
        return files.open(name).read()


def segments(file: Path) -> tuple[Segment, ...]:
    with FileSource(file) as source:
        return KernelImage.from_elf(source).segments


@pytest.mark.parametrize("name", ["hypercalls", "mb1"])
@pytest.mark.parametrize("size", [6 * MIB, 6 * MIB + 1, 2 * GIB])
def test_an_image_has_the_size_that_was_asked_for_and_one_segment_more(tmp_path: Path, name: str, size: int) -> None:
    plain, padded = tmp_path / "plain", tmp_path / "padded"
    plain.write_bytes(guest(name))
    write_padded_image(guest(name), padded, size)
    assert padded.stat().st_size == size
    *old, large = segments(padded)
    assert tuple(old) == segments(plain)
    assert large.offset + large.filesz == size
    assert large.paddr % PAGE_SIZE == large.offset % PAGE_SIZE == 0


def test_a_large_image_lies_above_the_hole_below_4_gib_and_takes_no_room_on_disk(tmp_path: Path) -> None:
    padded = tmp_path / "padded"
    write_padded_image(guest("hypercalls"), padded, 4 * GIB)
    assert segments(padded)[-1].paddr == 4 * GIB
    assert padded.stat().st_blocks * 512 < MIB


def test_a_padded_guest_boots_and_touches_nothing_of_its_padding(tmp_path: Path) -> None:
    padded = tmp_path / "padded"
    write_padded_image(guest("hypercalls"), padded, 4 * GIB)
    _, report = Launch(str(padded), 16 * GIB).run(PagingPolicy())
    assert report.exit_code == 42
    assert report.pages_loaded < 10
    assert report.image_pages > 4 * GIB // PAGE_SIZE - 10


def test_a_32_bit_image_ends_below_the_hole(tmp_path: Path) -> None:
    base = guest("mb1")
    with pytest.raises(BenchError, match=r"^an image of 3,221,225,472 bytes: a 32-bit one has no room"):
        write_padded_image(base, tmp_path / "padded", 3 * GIB)


def test_an_image_that_is_too_small_for_its_guest_is_refused(tmp_path: Path) -> None:
    base = guest("hypercalls")
    with pytest.raises(BenchError, match=r"^an image of 4,096 bytes: "):
        write_padded_image(base, tmp_path / "padded", 4096)
