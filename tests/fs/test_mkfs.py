import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.fs.errors import SimpleFsError
from kev.fs.mkfs import create_image
from tests.fs.errors import refused
from tests.fs.images import SECTOR, contents, free_space, image, mounted

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=124)
"""Of at most 496 bytes in UTF-8."""
FILES = st.dictionaries(NAMES, st.binary(max_size=1500), max_size=6)


def streams(files: dict[str, bytes]) -> dict[str, io.BytesIO]:
    return {name: io.BytesIO(data) for name, data in files.items()}


@given(FILES)
def test_an_image_that_just_fits_is_as_the_format_describes_it(files: dict[str, bytes]) -> None:
    disk = io.BytesIO()
    create_image(disk, "disk", streams(files))
    assert disk.getvalue() == image(files)


@given(FILES, st.integers(1, 20))
def test_a_larger_disk_ends_in_free_space_with_a_header(files: dict[str, bytes], sectors: int) -> None:
    disk = io.BytesIO()
    create_image(disk, "disk", streams(files), len(image(files)) + sectors * SECTOR)
    assert disk.getvalue() == image(files, free_space(sectors))


def test_what_the_image_file_held_before_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"old" * 5000)
    with path.open("r+b") as file:
        create_image(file, "disk", streams({"a": b"new"}), 16 * SECTOR)
    assert path.read_bytes() == image({"a": b"new"}, free_space(13))


def test_a_large_file_is_copied_in_parts() -> None:
    data = os.urandom(1 << 16) * 40
    disk = io.BytesIO()
    assert contents(create_image(disk, "disk", streams({"large": data, "small": b"x"}))) == {"large": data, "small": b"x"}


def test_a_disk_can_be_a_file_of_another_disk() -> None:
    inner = image({"kernel": b"code"})
    assert contents(mounted(mounted(image({"disk": bytes(inner)})).open("disk").read())) == {"kernel": b"code"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "a file cannot be named '': a name has one byte or more, and no NUL"),
        ("a\0b", "a file cannot be named 'a\\x00b': a name has one byte or more, and no NUL"),
        ("é" * 248 + "x", f"the name '{'é' * 248}x' has 497 bytes: at most 496 fit"),
        ("caf\udce9", "the name 'caf\\udce9' cannot be written as UTF-8: surrogates not allowed"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_before_the_image_is_touched(name: str, message: str) -> None:
    disk = io.BytesIO(b"precious")
    with refused(SimpleFsError, message):
        create_image(disk, "disk", streams({"a": b"x", name: b"y"}))
    assert disk.getvalue() == b"precious"


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (2047, "disk: a size of 2047 bytes is not a multiple of 512"),
        (1024, "disk: a size of 1024 bytes is too small: the files need 1536"),
        (0, "disk: a size of 0 bytes is too small: the files need 1536"),
        (1 << 70, f"disk: a size of {1 << 70} bytes is too large: no file can have more than {(1 << 63) - 1}"),
    ],
)
def test_a_size_that_cannot_be_is_refused_before_the_image_is_touched(size: int, message: str) -> None:
    disk = io.BytesIO(b"precious")
    with refused(SimpleFsError, message):
        create_image(disk, "disk", streams({"a": b"x"}), size)
    assert disk.getvalue() == b"precious"


def test_a_size_that_the_host_refuses_is_reported(tmp_path: Path) -> None:
    with (
        (tmp_path / "disk").open("w+b", buffering=0) as file,
        pytest.raises(SimpleFsError, match=r"^disk: cannot be made .* bytes long: "),
    ):
        create_image(file, "disk", {}, (1 << 63) - 512)


def test_contents_of_unknown_size_are_refused_by_name() -> None:
    read_end, write_end = os.pipe()
    with (
        open(read_end, "rb", buffering=0) as pipe,
        open(write_end, "wb"),
        pytest.raises(SimpleFsError, match=r"^'pipe': its contents must be a file of known size: "),
    ):
        create_image(io.BytesIO(), "disk", {"pipe": pipe})


class Melting(io.BytesIO):
    """A file that another process truncates once its length is known."""

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        position = super().seek(offset, whence)
        if whence == os.SEEK_SET:
            self.truncate(3)
        return position


def test_contents_that_shrink_while_they_are_copied_are_reported() -> None:
    with refused(SimpleFsError, "'a': changed while it was read: 3 bytes instead of 10"):
        create_image(io.BytesIO(), "disk", {"a": Melting(bytes(10))})
