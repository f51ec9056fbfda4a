"""JOS' file system: images built byte by byte from the format's description, what is made of them, and damage."""

import io
import struct
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kev.fs.disk import Disk
from kev.fs.errors import JosFsBadPath, JosFsError, JosFsExists, JosFsFull, JosFsNotFound
from kev.fs.josfs import JosFs, is_josfs
from kev.fs.josfs_mkfs import create_josfs_image, format_disk
from tests.examples import examples
from tests.fs.errors import refused

BLOCK = 4096
BLOCKS = 32
ROOT = BLOCK + 8
"""Where the root's file structure is."""
DIRECTORY, REGULAR = 1, 0
SIZE, TYPE, DIRECT, INDIRECT = 128, 132, 136, 176
"""Where a field is in a file structure."""


def structure(name: bytes, size: int, kind: int, *blocks: int, indirect: int = 0) -> bytes:
    return struct.pack("<128siI10II76x", name, size, kind, *blocks, *(0,) * (10 - len(blocks)), indirect)


def image(*used: int) -> bytearray:
    """A disk with `hello` in block 4, `sub/deep` in 6, and a file with an indirect block; `used` are further blocks that are taken.

    The root directory is in block 3, that of `sub` in block 5; `big` has blocks 7 to 16 and, through block 17, block 18.
    """
    data = bytearray(BLOCKS * BLOCK)
    data[BLOCK : BLOCK + 8] = struct.pack("<II", 0x4A0530AE, BLOCKS)
    data[ROOT : ROOT + 256] = structure(b"/", BLOCK, DIRECTORY, 3)
    free = sum(1 << block for block in range(19, BLOCKS) if block not in used)
    data[2 * BLOCK : 3 * BLOCK] = free.to_bytes(BLOCK, "little")
    data[3 * BLOCK : 3 * BLOCK + 4 * 256] = (
        structure(b"hello", 5, REGULAR, 4)
        + bytes(256)
        + structure(b"sub", BLOCK, DIRECTORY, 5)
        + structure(b"big", 10 * BLOCK + 3, REGULAR, *range(7, 17), indirect=17)
    )
    data[4 * BLOCK : 4 * BLOCK + 5] = b"hello"
    data[5 * BLOCK : 5 * BLOCK + 256] = structure(b"deep", 4, REGULAR, 6)
    data[6 * BLOCK : 6 * BLOCK + 4] = b"deep"
    for block in range(7, 17):
        data[block * BLOCK : (block + 1) * BLOCK] = bytes([block]) * BLOCK
    data[17 * BLOCK : 17 * BLOCK + 4] = struct.pack("<I", 18)
    data[18 * BLOCK : 18 * BLOCK + 3] = b"end"
    return data


def mounted(data: bytearray) -> tuple[JosFs, io.BytesIO]:
    file = io.BytesIO(data)
    return JosFs(Disk(file, "disk")), file


def contents(fs: JosFs) -> dict[str, bytes | None]:
    """All files by path; None for a directory."""
    return {file.path: None if file.is_directory else file.read_at(0, 1 << 30) for file in fs.walk()}


BIG = b"".join(bytes([block]) * BLOCK for block in range(7, 17)) + b"end"


def test_an_image_from_elsewhere_is_read() -> None:
    fs, _ = mounted(image())
    assert contents(fs) == {"hello": b"hello", "sub": None, "sub/deep": b"deep", "big": BIG}
    assert (fs.blocks, fs.free_blocks) == (BLOCKS, BLOCKS - 19)
    assert fs.open("/sub//deep/").path == "sub/deep"
    assert (fs.open("").is_directory, fs.open("/").name) == (True, "/")
    assert fs.open("big").read_at(10 * BLOCK - 2, 10) == b"\x10\x10end"


def test_only_what_is_touched_is_read() -> None:
    fs, _ = mounted(image())
    before = fs.cache.sectors_read
    assert fs.open("hello").read_at(1, 3) == b"ell"
    assert fs.cache.sectors_read == before + 8


@pytest.mark.parametrize("path", ["gone", "hello/x", "sub/gone", "sub/deep/x"])
def test_what_is_not_there_is_named(path: str) -> None:
    fs, _ = mounted(image())
    with refused(JosFsNotFound, f"disk: no file is named {path!r}"):
        fs.open(path)


@pytest.mark.parametrize("name", ["x" * 128, "é" * 64, "a\0b"])
def test_names_that_cannot_be(name: str) -> None:
    fs, _ = mounted(image())
    for call in (fs.open, fs.create):
        with pytest.raises(JosFsBadPath, match="a name has up to 127 bytes, and no NUL"):
            call(name)


def test_a_file_is_made_written_and_read_again() -> None:
    fs, file = mounted(image())
    made = fs.create("sub/new")
    made.write_at(BLOCK - 2, b"over the edge")
    assert (made.size, made.read_at(0, 4), made.read_at(BLOCK - 2, 99)) == (BLOCK + 11, bytes(4), b"over the edge")
    fs.flush()
    again = JosFs(Disk(file, "disk"))
    assert again.open("sub/new").read_at(BLOCK - 2, 99) == b"over the edge"
    assert again.free_blocks == BLOCKS - 21


def test_nothing_is_on_the_disk_before_it_is_flushed() -> None:
    fs, file = mounted(image())
    before = file.getvalue()
    fs.create("new").write_at(0, b"x")
    assert file.getvalue() == before
    fs.flush()
    assert b"new\0" in file.getvalue()


def test_a_directory_grows_by_a_block() -> None:
    fs, _ = mounted(image())
    for number in range(15):
        fs.create(f"sub/file{number}")
    assert (fs.open("sub").size, fs.free_blocks) == (BLOCK, BLOCKS - 19)
    fs.create("sub/one more")
    assert (fs.open("sub").size, fs.free_blocks) == (2 * BLOCK, BLOCKS - 20)
    assert len(list(fs.entries(fs.open("sub")))) == 17


def test_a_hole_reads_as_zeros_and_takes_no_block() -> None:
    fs, _ = mounted(image())
    fs.create("hole").resize(8 * BLOCK)
    assert (fs.open("hole").read_at(0, 10 * BLOCK), fs.free_blocks) == (bytes(8 * BLOCK), BLOCKS - 19)


def test_a_file_that_is_cut_gives_its_blocks_back_and_grows_by_zeros() -> None:
    fs, _ = mounted(image())
    big = fs.open("big")
    big.resize(BLOCK + 1)
    assert fs.free_blocks == BLOCKS - 19 + 10
    big.resize(2 * BLOCK)
    assert big.read_at(BLOCK, BLOCK) == b"\x08" + bytes(BLOCK - 1)


def test_a_file_is_removed_and_its_place_is_free() -> None:
    fs, _ = mounted(image())
    fs.remove("big")
    assert (fs.free_blocks, sorted(contents(fs))) == (BLOCKS - 19 + 12, ["hello", "sub", "sub/deep"])
    with refused(JosFsBadPath, "disk: directory 'sub' is not empty"):
        fs.remove("sub")
    fs.remove("sub/deep")
    fs.remove("sub")
    assert sorted(contents(fs)) == ["hello"]
    with refused(JosFsBadPath, "disk: the root directory cannot be removed"):
        fs.remove("/")


def test_what_is_there_already_is_not_made() -> None:
    fs, _ = mounted(image())
    with refused(JosFsExists, "disk: there is a file 'hello' already"):
        fs.create("hello")
    with refused(JosFsExists, "disk: the root directory is there"):
        fs.create("/")
    with refused(JosFsNotFound, "disk: 'hello' is no directory"):
        fs.create("hello/x")


def test_a_disk_that_is_full_stays_as_it_was() -> None:
    fs, _ = mounted(image())
    with refused(JosFsFull, "disk: 'hello': the disk is full: it has 32 blocks of 4096 bytes"):
        fs.open("hello").write_at(0, bytes(20 * BLOCK))
    assert (contents(fs)["hello"], fs.free_blocks) == (b"hello", BLOCKS - 19)
    with pytest.raises(JosFsFull, match="a file of 4235265 bytes: it can have 4235264"):
        fs.open("hello").write_at(4235264, b"x")
    with pytest.raises(JosFsFull, match=r"65536 bytes do not fit: 13 blocks are free"):
        fs.put("hello", io.BytesIO(bytes(16 * BLOCK)))
    assert contents(fs)["hello"] == b"hello"


def test_a_file_is_put_in_place_of_another() -> None:
    fs, file = mounted(image())
    assert fs.put("big", io.BytesIO(b"small")) == 5
    assert fs.put("new", io.BytesIO(b"n")) == 1
    again = JosFs(Disk(file, "disk"))
    assert (contents(again)["big"], contents(again)["new"], again.free_blocks) == (b"small", b"n", BLOCKS - 19 + 11 - 1)
    with refused(JosFsBadPath, "disk: 'sub' is a directory"):
        fs.put("sub", io.BytesIO(b""))


# Making images.


def test_an_image_is_made_that_just_fits() -> None:
    file = io.BytesIO()
    files = {"a": b"1", "dir/b": bytes(11 * BLOCK), "dir/sub/c": b""}
    fs = create_josfs_image(file, "disk", {path: io.BytesIO(data) for path, data in files.items()})
    assert contents(fs) == {"a": b"1", "dir": None, "dir/b": bytes(11 * BLOCK), "dir/sub": None, "dir/sub/c": b""}
    # Boot sector, superblock, bitmap; three directories; one block, and eleven with an indirect one.
    assert (fs.blocks, fs.free_blocks) == (3 + 3 + 1 + 12, 0)
    assert contents(JosFs(Disk(file, "disk"))) == contents(fs)


def test_an_image_is_as_large_as_is_asked_for() -> None:
    file = io.BytesIO()
    fs = create_josfs_image(file, "disk", {}, 512 * BLOCK)
    assert (fs.blocks, len(file.getvalue()), fs.free_blocks) == (512, 512 * BLOCK, 509)


def test_a_large_disk_has_a_bitmap_of_several_blocks() -> None:
    fs = format_disk(Disk(io.BytesIO(bytes(40_000 * BLOCK)), "disk"))
    assert (fs.first_data_block, fs.free_blocks) == (4, 40_000 - 4)


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        (5000, JosFsError, "disk: a size of 5000 bytes is not a multiple of 4096"),
        (4 * BLOCK, JosFsFull, "disk: a size of 16384 bytes is too small: the files need 20480"),
        (0xC000_1000, JosFsError, "disk: a size of 3221229568 bytes is too large: JOS' disks have up to 3221225472"),
    ],
)
def test_sizes_that_cannot_be_leave_the_file_alone(size: int, error: type[Exception], message: str) -> None:
    file = io.BytesIO(b"before")
    with refused(error, message):
        create_josfs_image(file, "disk", {"x": io.BytesIO(b"x")}, size)
    assert file.getvalue() == b"before"


def test_a_file_that_no_disk_can_hold_is_refused() -> None:
    with refused(JosFsFull, "disk: 'x': a file of 4235265 bytes: it can have 4235264"):
        create_josfs_image(io.BytesIO(), "disk", {"x": io.BytesIO(bytes(4235265))})


def test_who_looks_at_a_disk_knows_it_by_its_magic() -> None:
    assert is_josfs(Disk(io.BytesIO(image()), "disk"))
    assert not is_josfs(Disk(io.BytesIO(bytes(BLOCKS * BLOCK)), "disk"))
    assert not is_josfs(Disk(io.BytesIO(image()[:BLOCK]), "disk"))


# Damage.


def put(offset: int, value: int) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        struct.pack_into("<I", data, offset, value)

    return change


HELLO = 3 * BLOCK
SUB = 3 * BLOCK + 2 * 256
BIG_FILE = 3 * BLOCK + 3 * 256
DEEP = 5 * BLOCK


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(BLOCK, 0x4A0530AF), "block 1: not a JOS-FS disk: its magic is 0x4a0530af instead of 0x4a0530ae"),
        (put(BLOCK + 4, BLOCKS + 1), "block 1: the superblock is for 33 blocks: the disk has 32 of 4096 bytes"),
        (put(BLOCK + 4, 0), "block 1: the superblock is for 0 blocks: the disk has 32 of 4096 bytes"),
        (put(BLOCK + 4, 2), "block 1: the superblock is for 2 blocks: the disk has 32 of 4096 bytes"),
        (put(ROOT + TYPE, REGULAR), "block 1: the root has type 0: a directory's is 1"),
        (put(ROOT + SIZE, 100), "block 1: directory '' has 100 bytes"),
        (put(HELLO + DIRECT, 32), "block 3: 'hello' has block 32: files' blocks are 3 to 31"),
        (put(HELLO + DIRECT, 2), "block 3: 'hello' has block 2: files' blocks are 3 to 31"),
        (put(HELLO + DIRECT, 0xFFFF_FFFF), "block 3: 'hello' has block 4294967295: files' blocks are 3 to 31"),
        (put(HELLO + DIRECT, 20), "block 3: 'hello' has block 20, which is free by the bitmap"),
        (put(HELLO + DIRECT + 4, 19), "block 3: 'hello' has block 19, which is free by the bitmap"),
        (put(HELLO + SIZE, 0x7FFF_FFFF), "block 3: 'hello' has 2147483647 bytes: a file can have 4235264"),
        (put(HELLO + SIZE, 0xFFFF_FFFF), "block 3: 'hello' has -1 bytes: a file can have 4235264"),
        (put(HELLO + SIZE, 0), "block 3: 'hello' has block 4 behind its end: it has 0 bytes"),
        (put(HELLO + TYPE, 2), "block 3: 'hello' has type 2: there are 0, a file, and 1, a directory"),
        (put(SUB + DIRECT, 3), "block 3: 'sub' has block 3, which '' has already"),
        (put(DEEP + DIRECT, 5), "block 5: 'sub/deep' has block 5, which 'sub' has already"),
        (put(BIG_FILE + INDIRECT, 99), "block 3: 'big' has block 99: files' blocks are 3 to 31"),
        (put(17 * BLOCK, 17), "block 17: 'big' has block 17, which 'big' has already"),
        (put(17 * BLOCK + 4, 4), "block 17: 'big' has block 4 behind its end: it has 40963 bytes"),
        (
            lambda data: data.__setitem__(slice(HELLO, HELLO + 5), b"sub\0\0"),
            "block 3: directory '' has a file 'sub': it cannot be, or not",
        ),
        (
            lambda data: data.__setitem__(slice(HELLO, HELLO + 5), b"he/lo"),
            "block 3: directory '' has a file 'he/lo': it cannot be, or not",
        ),
    ],
)
def test_damage_is_named_by_its_block(change: Callable[[bytearray], None], message: str) -> None:
    data = image()
    change(data)
    with pytest.raises(JosFsError) as caught:
        mounted(data)
    assert str(caught.value).startswith(f"disk: {message}")


def test_a_directory_within_itself_is_found() -> None:
    data = image()
    data[DEEP : DEEP + 256] = structure(b"loop", BLOCK, DIRECTORY, 5)
    with refused(JosFsError, "disk: block 5: 'sub/loop' has block 5, which 'sub' has already"):
        mounted(data)


def test_directories_that_are_too_deep_for_a_path_are_damage() -> None:
    blocks = 20
    data = bytearray(blocks * BLOCK)
    data[BLOCK : BLOCK + 8] = struct.pack("<II", 0x4A0530AE, blocks)
    data[ROOT : ROOT + 256] = structure(b"/", BLOCK, DIRECTORY, 3)
    for block in range(3, 15):
        data[block * BLOCK : block * BLOCK + 256] = structure(100 * b"d", BLOCK, DIRECTORY, block + 1)
    with refused(JosFsError, f"disk: block 13: '{40 * 'd'}'...: a path has up to 1023 bytes"):
        mounted(data)


def test_a_disk_that_is_too_small_is_none() -> None:
    with refused(JosFsError, "disk: block 1: a disk of 8192 bytes has no superblock and bitmap"):
        JosFs(Disk(io.BytesIO(bytes(2 * BLOCK)), "disk"))


@settings(max_examples=examples(30), stateful_step_count=25, deadline=None)
class JosFsMachine(RuleBasedStateMachine):
    """Whatever is done to a disk, it is a dict of bytes."""

    NAMES = st.sampled_from(["a", "b", "d/a", "d/b"])
    OFFSETS = st.one_of(st.integers(0, 3 * BLOCK), st.integers(9 * BLOCK, 12 * BLOCK))
    DATA = st.one_of(st.binary(max_size=20), st.integers(1, 255).map(lambda byte: bytes([byte]) * (2 * BLOCK)))

    @initialize()
    def make(self) -> None:
        self.backing = io.BytesIO()
        self.fs = create_josfs_image(self.backing, "disk", {"d/a": io.BytesIO(b"first")}, 96 * BLOCK)
        self.files = {"d/a": bytearray(b"first")}

    @rule(name=NAMES)
    def create(self, name: str) -> None:
        if name in self.files:
            with pytest.raises(JosFsExists):
                self.fs.create(name)
        else:
            self.fs.create(name)
            self.files[name] = bytearray()

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        if name in self.files:
            self.fs.remove(name)
            del self.files[name]
        else:
            with pytest.raises(JosFsNotFound):
                self.fs.remove(name)

    @rule(name=NAMES, offset=OFFSETS, data=DATA)
    def write(self, name: str, offset: int, data: bytes) -> None:
        if name in self.files:
            self.fs.open(name).write_at(offset, data)
            kept = self.files[name]
            kept.extend(bytes(max(0, offset + len(data) - len(kept))))
            kept[offset : offset + len(data)] = data

    @rule(name=NAMES, size=OFFSETS)
    def resize(self, name: str, size: int) -> None:
        if name in self.files:
            self.fs.open(name).resize(size)
            kept = self.files[name]
            kept[size:] = b""
            kept.extend(bytes(size - len(kept)))

    @rule()
    def open_again(self) -> None:
        """The whole disk is checked."""
        self.fs.flush()
        self.fs = JosFs(Disk(self.backing, "disk"))

    @invariant()
    def holds_what_was_written(self) -> None:
        if hasattr(self, "files"):
            assert {path: data for path, data in contents(self.fs).items() if data is not None} == self.files


TestJosFs = JosFsMachine.TestCase
