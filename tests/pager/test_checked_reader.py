"""A file of which every block is held against its digest."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.pager.checked_reader import BLOCK, BlockDigests, CheckedReader, manifest_of
from kev.pager.fsspec_source import DIGEST_MARK, MANIFEST, FsspecSource
from kev.pager.source import SourceError, read_bytes


class Bytes:
    """A file in memory."""

    name = "file"

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def read(self, start: int, end: int) -> bytes:
        return self.data[start:end]

    def read_into(self, offset: int, buffer: memoryview, /) -> int:
        part = self.data[offset : offset + len(buffer)]
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None: ...


DATA = bytes(range(256)) * (BLOCK // 256 * 2 + 5)
MANIFEST_OF_DATA = manifest_of(DATA[start : start + BLOCK] for start in range(0, len(DATA), BLOCK))
DIGEST = hashlib.sha256(MANIFEST_OF_DATA).hexdigest()


@given(st.integers(0, len(DATA)), st.integers(0, len(DATA)))
def test_any_range_is_what_it_was(start: int, end: int) -> None:
    assert CheckedReader(Bytes(DATA), BlockDigests("file", MANIFEST_OF_DATA, DIGEST)).read(start, end) == DATA[start:end]


@given(st.integers(0, len(DATA) - 1))
def test_one_wrong_byte_is_seen_where_it_is_read_and_nowhere_else(position: int) -> None:
    damaged = bytearray(DATA)
    damaged[position] ^= 1
    reader = CheckedReader(Bytes(bytes(damaged)), BlockDigests("file", MANIFEST_OF_DATA, DIGEST))
    block = position // BLOCK
    with pytest.raises(SourceError, match=rf"^file: .* at offset {block * BLOCK:#x} are not what they were: SHA-256 differs$"):
        reader.read(position, position + 1)
    elsewhere = (block + 1) % 2 * BLOCK
    assert reader.read(elsewhere, elsewhere + 1) == DATA[elsewhere : elsewhere + 1]


@given(st.binary())
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(SourceError, match=r"^file: its manifest"):
        BlockDigests("file", data, hashlib.sha256(data).hexdigest())
    with pytest.raises(SourceError, match=f"^file: its manifest is not the one with SHA-256 {DIGEST}$"):
        BlockDigests("file", data, DIGEST)


def test_a_file_of_another_size_is_refused() -> None:
    with pytest.raises(SourceError, match=r"^file: has 3 bytes, and should have 132,352$"):
        CheckedReader(Bytes(b"abc"), BlockDigests("file", MANIFEST_OF_DATA, DIGEST))


def test_a_url_says_what_its_file_should_be(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(DATA)
    (tmp_path / f"image{MANIFEST}").write_bytes(MANIFEST_OF_DATA)
    url = f"file://{tmp_path}/image{DIGEST_MARK}"
    assert read_bytes(FsspecSource.open(url + DIGEST).blocking, 10, 100) == DATA[10:110]
    with pytest.raises(SourceError, match="its manifest is not the one with SHA-256 0"):
        FsspecSource.open(url + "0" * 64)
    (tmp_path / "image").write_bytes(bytes(len(DATA)))
    with pytest.raises(SourceError, match="SHA-256 differs"):
        read_bytes(FsspecSource.open(url + DIGEST).blocking, 10, 100)
