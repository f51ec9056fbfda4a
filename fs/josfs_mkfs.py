"""Makes a JOS-FS image from files."""

import contextlib
from collections.abc import Mapping
from typing import BinaryIO

from kev.fs.block_cache import BLOCK_SIZE
from kev.fs.disk import Disk
from kev.fs.errors import JosFsError, JosFsExists, JosFsFull
from kev.fs.file import stream_length
from kev.fs.josfs import JosFs
from kev.fs.josfs_format import (
    BITMAP,
    DIRECTORY,
    ENTRY_SIZE,
    LARGEST_FILE,
    MOST_BLOCKS,
    NDIRECT,
    SUPERBLOCK,
    FileStructure,
    bitmap_blocks,
    blocks_of,
    encode_super,
)
from kev.fs.mkfs import blank_disk


def create_josfs_image(image: BinaryIO, name: str, contents: Mapping[str, BinaryIO], size: int | None = None) -> JosFs:
    """Turns `image`, a file open for reading and writing, into a disk with these files; what it held is lost.

    `contents` are seekable streams by path; directories on the way are made. `size` is that of the disk in bytes, a multiple of
    4 KiB, by default what the files need. `name` is what errors call the disk. JosFsError if a path cannot be used, or if the
    files do not fit: then `image` was not touched. SimpleFsError if a stream has no length.
    """
    lengths = {path: stream_length(stream, path) for path, stream in contents.items()}
    for path, length in lengths.items():
        if length > LARGEST_FILE:
            raise JosFsFull(f"{name}: {path!r}: a file of {length} bytes: it can have {LARGEST_FILE}")
    fs = format_disk(blank_disk(image, name, _blocks_wanted(name, _blocks_needed(lengths), size) * BLOCK_SIZE))
    for path, stream in contents.items():
        _make_directories(fs, path)
        fs.put(path, stream)
    return fs


def format_disk(disk: Disk) -> JosFs:
    """An empty file system on all of a disk of zeros."""
    blocks = disk.size // BLOCK_SIZE
    first = BITMAP + bitmap_blocks(blocks)
    free = (1 << blocks) - (1 << first)
    disk.write(SUPERBLOCK * BLOCK_SIZE, encode_super(blocks, FileStructure("/", 0, DIRECTORY)))
    disk.write(BITMAP * BLOCK_SIZE, free.to_bytes(bitmap_blocks(blocks) * BLOCK_SIZE, "little"))
    return JosFs(disk)


def _make_directories(fs: JosFs, path: str) -> None:
    *above, _ = filter(None, path.split("/"))
    for depth in range(1, len(above) + 1):
        directory = "/".join(above[:depth])
        with contextlib.suppress(JosFsExists):
            fs.create(directory, directory=True)


def _blocks_needed(lengths: Mapping[str, int]) -> int:
    """For the contents of all files and of the directories on the way, and for the numbers of their blocks."""
    members: dict[str, set[str]] = {"": set()}
    for path in lengths:
        names = list(filter(None, path.split("/")))
        for depth in range(len(names)):
            members.setdefault("/".join(names[:depth]), set()).add(names[depth])
    directories = (len(names) * ENTRY_SIZE for names in members.values())
    return sum(map(_with_indirect, (*lengths.values(), *directories)))


def _with_indirect(length: int) -> int:
    blocks = blocks_of(length)
    return blocks + (blocks > NDIRECT)


def _blocks_wanted(name: str, needed: int, size: int | None) -> int:
    """How many the disk is to have."""
    blocks = BITMAP + needed + 1
    while BITMAP + bitmap_blocks(blocks) + needed > blocks:
        blocks += 1
    if size is None:
        size = blocks * BLOCK_SIZE
    if size % BLOCK_SIZE:
        raise JosFsError(f"{name}: a size of {size} bytes is not a multiple of {BLOCK_SIZE}")
    if size < blocks * BLOCK_SIZE:
        raise JosFsFull(f"{name}: a size of {size} bytes is too small: the files need {blocks * BLOCK_SIZE}")
    if size > MOST_BLOCKS * BLOCK_SIZE:
        raise JosFsError(f"{name}: a size of {size} bytes is too large: JOS' disks have up to {MOST_BLOCKS * BLOCK_SIZE}")
    return size // BLOCK_SIZE
