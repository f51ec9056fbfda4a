"""JOS' file system: directories, and files of blocks, on a disk of up to 3 GiB.

What is written is kept in a cache of blocks until it is flushed. The format is described in `kev.fs.josfs_format`.
"""

import contextlib
import struct
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

from kev.fs.block_cache import BLOCK_SIZE, BlockCache
from kev.fs.disk import Disk
from kev.fs.errors import JosFsBadPath, JosFsError, JosFsExists, JosFsFull, JosFsNotFound
from kev.fs.file import COPY_SIZE, stream_length
from kev.fs.josfs_format import (
    BITMAP,
    DIRECTORY,
    ENTRY_SIZE,
    LARGEST_FILE,
    LONGEST_NAME,
    LONGEST_PATH,
    MAGIC,
    MOST_BLOCKS,
    NDIRECT,
    REGULAR,
    ROOT_OFFSET,
    SUPERBLOCK,
    FileStructure,
    bitmap_blocks,
    blocks_of,
    decode_super,
    encode_name,
)

_NUMBER: Final = struct.Struct("<I")


class Place(NamedTuple):
    """Where a file structure lies."""

    block: int
    offset: int


class JosFile:
    """A file or directory. It is read and written from any byte on, and grows."""

    __slots__ = ("_fs", "_place", "path")

    def __init__(self, fs: "JosFs", place: Place, path: str) -> None:
        self._fs: Final = fs
        self._place: Final = place
        self.path: Final = path
        """From the root, without a slash at the beginning; the root's is empty."""

    @property
    def structure(self) -> FileStructure:
        """As it lies on the disk."""
        block, offset = self._place
        return FileStructure.decode(bytes(self._fs.cache.block(block)[offset : offset + ENTRY_SIZE]))

    @property
    def name(self) -> str:
        """Without its folder."""
        return self.path.rpartition("/")[2] or "/"

    @property
    def size(self) -> int:
        """In bytes."""
        return self.structure.size

    @property
    def is_directory(self) -> bool:
        return self.structure.type == DIRECTORY

    def read_at(self, offset: int, length: int) -> bytes:
        """The `length` bytes from `offset` on, fewer at the file's end. What was never written reads as zeros."""
        structure = self.structure
        end = min(offset + length, structure.size)
        parts = []
        while offset < end:
            number = self._fs.block_of(structure, offset // BLOCK_SIZE)
            start = offset % BLOCK_SIZE
            count = min(BLOCK_SIZE - start, end - offset)
            parts.append(bytes(self._fs.cache.block(number)[start : start + count]) if number else bytes(count))
            offset += count
        return b"".join(parts)

    def write_at(self, offset: int, data: bytes) -> None:
        """Writes from `offset` on; the file grows if it must. JosFsFull, with the size as it was, if it cannot."""
        end, structure = offset + len(data), self.structure
        blocks = range(offset // BLOCK_SIZE, blocks_of(end)) if data else range(0)
        if end <= LARGEST_FILE:
            missing = sum(self._fs.block_of(structure, index) == 0 for index in blocks)
            self._fs.check_room(missing + (blocks.stop > NDIRECT and not structure.indirect), self.path)
        if end > structure.size:
            self.resize(end)
        for index in blocks:
            number = self._own_block(index)
            start = max(offset - index * BLOCK_SIZE, 0)
            piece = data[max(index * BLOCK_SIZE - offset, 0) : (index + 1) * BLOCK_SIZE - offset]
            self._fs.cache.change(number)[start : start + len(piece)] = piece

    def resize(self, size: int) -> None:
        """Cuts the file, or lets it end with a hole that reads as zeros. JosFsFull if no file can be so large."""
        if not 0 <= size <= LARGEST_FILE:
            raise JosFsFull(f"{self._fs.name}: {self.path!r}: a file of {size} bytes: it can have {LARGEST_FILE}")
        structure = self.structure
        for index in range(blocks_of(size), blocks_of(structure.size)):
            self._free_block(index)
        if size < structure.size:
            self._clear_rest(size)
        structure = self.structure
        if structure.indirect and blocks_of(size) <= NDIRECT:
            self._fs.free(structure.indirect)
            structure = structure._replace(indirect=0)
        self._save(structure._replace(size=size))

    def flush(self) -> None:
        """Writes whatever was changed on the disk."""
        self._fs.flush()

    def _clear_rest(self, size: int) -> None:
        """What follows in the last block reads as zeros, should the file grow again."""
        number = self._fs.block_of(self.structure, size // BLOCK_SIZE) if size % BLOCK_SIZE else 0
        if number:
            rest = size % BLOCK_SIZE
            self._fs.cache.change(number)[rest:] = bytes(BLOCK_SIZE - rest)

    def _own_block(self, index: int) -> int:
        """The number of a block that is written, which is made if there is a hole."""
        structure = self.structure
        number = self._fs.block_of(structure, index)
        if number:
            return number
        number = self._fs.allocate(self.path)
        if index < NDIRECT:
            direct = list(structure.direct)
            direct[index] = number
            self._save(structure._replace(direct=tuple(direct)))
            return number
        indirect = structure.indirect
        if not indirect:
            indirect = self._fs.allocate(self.path)
            self._save(structure._replace(indirect=indirect))
        _NUMBER.pack_into(self._fs.cache.change(indirect), 4 * (index - NDIRECT), number)
        return number

    def _free_block(self, index: int) -> None:
        structure = self.structure
        number = self._fs.block_of(structure, index)
        if not number:
            return
        self._fs.free(number)
        if index < NDIRECT:
            direct = list(structure.direct)
            direct[index] = 0
            self._save(structure._replace(direct=tuple(direct)))
        else:
            _NUMBER.pack_into(self._fs.cache.change(structure.indirect), 4 * (index - NDIRECT), 0)

    def _save(self, structure: FileStructure) -> None:
        block, offset = self._place
        self._fs.cache.change(block)[offset : offset + ENTRY_SIZE] = structure.encode()


class JosFs:
    """The files of a disk. All of them are checked once, when it is opened."""

    __slots__ = ("blocks", "cache", "disk", "name", "root")

    def __init__(self, disk: Disk) -> None:
        """JosFsError if the disk is damaged: it says what is wrong in which block."""
        self.disk: Final = disk
        self.name: Final = disk.name
        self.cache: Final = BlockCache(disk, disk.name)
        self.blocks: Final = _checked_super(disk, self.cache)
        """How many the file system has."""
        self.root: Final = JosFile(self, Place(SUPERBLOCK, ROOT_OFFSET), "")
        _Check(self).run()

    def open(self, path: str) -> JosFile:
        """The file or directory of that path; slashes at its beginning and end do not count. JosFsNotFound; JosFsBadPath."""
        file = self.root
        for name in _components(path):
            file = self._entry(file, name)
        return file

    def entries(self, directory: JosFile) -> Iterator[JosFile]:
        """What is in a directory, in its order."""
        prefix = f"{directory.path}/" if directory.path else ""
        for place in self._places(directory.structure):
            name = self._structure_at(place).name
            if name:
                yield JosFile(self, place, prefix + name)

    def walk(self, directory: JosFile | None = None) -> Iterator[JosFile]:
        """All files and directories under one, by default the root: each directory comes before what is in it."""
        pending = [self.entries(directory or self.root)]
        while pending:
            file = next(pending[-1], None)
            if file is None:
                pending.pop()
                continue
            yield file
            if file.is_directory:
                pending.append(self.entries(file))

    def create(self, path: str, *, directory: bool = False) -> JosFile:
        """An empty file or directory. JosFsExists; JosFsNotFound if its directory is missing; JosFsBadPath; JosFsFull."""
        *above, name = _components(path) or [""]
        if not name:
            raise JosFsExists(f"{self.name}: the root directory is there")
        parent = self.open("/".join(above))
        if not parent.is_directory:
            raise JosFsNotFound(f"{self.name}: {parent.path!r} is no directory")
        if any(file.name == name for file in self.entries(parent)):
            raise JosFsExists(f"{self.name}: there is a file {path!r} already")
        place = self._free_place(parent)
        structure = FileStructure(name, 0, DIRECTORY if directory else REGULAR)
        self.cache.change(place.block)[place.offset : place.offset + ENTRY_SIZE] = structure.encode()
        return JosFile(self, place, "/".join((*above, name)))

    def put(self, path: str, source: BinaryIO) -> int:
        """Lets a file, which is made if it is not there, hold all of a seekable stream, on the disk; returns how many bytes.

        JosFsError as `create` and `JosFile.write_at`; also if `path` is a directory. JosFsFull before the file is touched.
        """
        length = stream_length(source, path)
        with contextlib.suppress(JosFsExists):
            self.create(path)
        file = self.open(path)
        if file.is_directory:
            raise JosFsBadPath(f"{self.name}: {path!r} is a directory")
        if length > LARGEST_FILE or blocks_of(length) + (blocks_of(length) > NDIRECT) > self.free_blocks + blocks_of(file.size):
            free = self.free_blocks
            raise JosFsFull(
                f"{self.name}: {path!r}: {length} bytes do not fit: {free} blocks are free, and {LARGEST_FILE} bytes the most"
            )
        file.resize(0)
        source.seek(0)
        done = 0
        while chunk := source.read(COPY_SIZE):
            file.write_at(done, chunk)
            done += len(chunk)
        self.flush()
        return done

    def remove(self, path: str) -> None:
        """A file, or a directory that is empty. JosFsNotFound; JosFsBadPath if something is in it, or it is the root."""
        file = self.open(path)
        if not file.path:
            raise JosFsBadPath(f"{self.name}: the root directory cannot be removed")
        if file.is_directory and any(True for _ in self.entries(file)):
            raise JosFsBadPath(f"{self.name}: directory {path!r} is not empty")
        file.resize(0)
        place = file._place
        self.cache.change(place.block)[place.offset : place.offset + ENTRY_SIZE] = bytes(ENTRY_SIZE)

    def flush(self) -> None:
        """Writes whatever was changed on the disk, and waits until it is there."""
        self.cache.flush()
        self.disk.flush()

    # Blocks.

    @property
    def first_data_block(self) -> int:
        """Behind the bitmap."""
        return BITMAP + bitmap_blocks(self.blocks)

    @property
    def free_blocks(self) -> int:
        """How many there are."""
        whole, rest = divmod(self.blocks, 8)
        bitmap = self._bitmap()
        return (int.from_bytes(bitmap[:whole]).bit_count()) + (bitmap[whole] & (1 << rest) - 1 if rest else 0).bit_count()

    def is_free(self, number: int) -> bool:
        """By the bitmap."""
        return bool(self.cache.block(BITMAP + number // (8 * BLOCK_SIZE))[number // 8 % BLOCK_SIZE] & 1 << number % 8)

    def allocate(self, path: str) -> int:
        """A block of zeros for a file. JosFsFull."""
        bitmap = self._bitmap()
        free = bitmap.lstrip(b"\0")
        number = 8 * (len(bitmap) - len(free)) + (free[0] & -free[0]).bit_length() - 1 if free else self.blocks
        if number >= self.blocks:
            raise self._full(path)
        self._mark(number, free=False)
        self.cache.change(number)[:] = bytes(BLOCK_SIZE)
        return number

    def free(self, number: int) -> None:
        """The block can be another file's."""
        self._mark(number, free=True)

    def check_room(self, blocks: int, path: str) -> None:
        """JosFsFull unless there are so many free blocks."""
        if blocks and self.free_blocks < blocks:
            raise self._full(path)

    def block_of(self, structure: FileStructure, index: int) -> int:
        """The number of the block that is at a place of a file; 0 if nothing was written there."""
        if index < NDIRECT:
            return structure.direct[index]
        if not structure.indirect:
            return 0
        number: int = _NUMBER.unpack_from(self.cache.block(structure.indirect), 4 * (index - NDIRECT))[0]
        return number

    def _full(self, path: str) -> JosFsFull:
        return JosFsFull(f"{self.name}: {path!r}: the disk is full: it has {self.blocks} blocks of {BLOCK_SIZE} bytes")

    def _bitmap(self) -> bytes:
        return b"".join(self.cache.block(BITMAP + index) for index in range(bitmap_blocks(self.blocks)))

    def _mark(self, number: int, *, free: bool) -> None:
        block, bit = self.cache.change(BITMAP + number // (8 * BLOCK_SIZE)), 1 << number % 8
        byte = number // 8 % BLOCK_SIZE
        block[byte] = block[byte] | bit if free else block[byte] & ~bit

    # Directories.

    def _places(self, directory: FileStructure) -> Iterator[Place]:
        for index in range(blocks_of(directory.size)):
            number = self.block_of(directory, index)
            if number:
                for offset in range(0, BLOCK_SIZE, ENTRY_SIZE):
                    yield Place(number, offset)

    def _structure_at(self, place: Place) -> FileStructure:
        return FileStructure.decode(bytes(self.cache.block(place.block)[place.offset : place.offset + ENTRY_SIZE]))

    def _entry(self, directory: JosFile, name: str) -> JosFile:
        if directory.is_directory:
            for file in self.entries(directory):
                if file.name == name:
                    return file
        path = f"{directory.path}/{name}" if directory.path else name
        raise JosFsNotFound(f"{self.name}: no file is named {path!r}")

    def _free_place(self, directory: JosFile) -> Place:
        for place in self._places(directory.structure):
            if not self._structure_at(place).name:
                return place
        end = directory.size
        directory.write_at(end, bytes(BLOCK_SIZE))
        return Place(self.block_of(directory.structure, end // BLOCK_SIZE), 0)


class _Check:
    """Finds out damage: every block that a file has must be on the disk, taken, and nobody else's."""

    def __init__(self, fs: JosFs) -> None:
        self._fs: Final = fs
        self._owners: Final[dict[int, str]] = {}

    def run(self) -> None:
        fs = self._fs
        structure = fs.root.structure
        if structure.type != DIRECTORY:
            raise self._damaged(SUPERBLOCK, f"the root has type {structure.type}: a directory's is {DIRECTORY}")
        pending = [("", SUPERBLOCK, structure)]
        while pending:
            path, block, structure = pending.pop()
            self._check_structure(path, block, structure)
            if structure.type == DIRECTORY:
                pending.extend(self._check_directory(path, block, structure))

    def _check_directory(self, path: str, block: int, structure: FileStructure) -> Iterator[tuple[str, int, FileStructure]]:
        if structure.size % BLOCK_SIZE:
            raise self._damaged(block, f"directory {path!r} has {structure.size} bytes: they are no whole blocks of {BLOCK_SIZE}")
        names = set()
        for place in self._fs._places(structure):
            entry = self._fs._structure_at(place)
            if not entry.name:
                continue
            if "/" in entry.name or entry.name in names or len(encode_name(entry.name)) > LONGEST_NAME:
                raise self._damaged(place.block, f"directory {path!r} has a file {entry.name!r}: it cannot be, or not twice")
            names.add(entry.name)
            below = f"{path}/{entry.name}".lstrip("/")
            if len(encode_name(below)) > LONGEST_PATH:
                raise self._damaged(place.block, f"{below[:40]!r}...: a path has up to {LONGEST_PATH} bytes")
            yield below, place.block, entry

    def _check_structure(self, path: str, block: int, structure: FileStructure) -> None:
        if structure.type not in (REGULAR, DIRECTORY):
            raise self._damaged(
                block, f"{path!r} has type {structure.type}: there are {REGULAR}, a file, and {DIRECTORY}, a directory"
            )
        if not 0 <= structure.size <= LARGEST_FILE:
            raise self._damaged(block, f"{path!r} has {structure.size} bytes: a file can have {LARGEST_FILE}")
        self._take(path, block, structure.indirect)
        indirect = self._fs.cache.block(structure.indirect).cast("I") if structure.indirect else ()
        for index, number in enumerate((*structure.direct, *indirect)):
            where = block if index < NDIRECT else structure.indirect
            self._take(path, where, number)
            if number and index >= blocks_of(structure.size):
                raise self._damaged(where, f"{path!r} has block {number} behind its end: it has {structure.size} bytes")

    def _take(self, path: str, block: int, number: int) -> None:
        if not number:
            return
        fs = self._fs
        if not fs.first_data_block <= number < fs.blocks:
            raise self._damaged(block, f"{path!r} has block {number}: files' blocks are {fs.first_data_block} to {fs.blocks - 1}")
        if number in self._owners:
            raise self._damaged(block, f"{path!r} has block {number}, which {self._owners[number]!r} has already")
        if fs.is_free(number):
            raise self._damaged(block, f"{path!r} has block {number}, which is free by the bitmap")
        self._owners[number] = path

    def _damaged(self, block: int, what: str) -> JosFsError:
        return damaged(self._fs.name, block, what)


def damaged(name: str, block: int, what: str) -> JosFsError:
    return JosFsError(f"{name}: block {block}: {what}")


def is_josfs(disk: Disk) -> bool:
    """The disk has JOS' magic number where its superblock would be."""
    if disk.size < (SUPERBLOCK + 1) * BLOCK_SIZE:
        return False
    beginning = bytearray(8)
    disk.read_into(SUPERBLOCK * BLOCK_SIZE, memoryview(beginning))
    return decode_super(bytes(beginning))[0] == MAGIC


def _checked_super(disk: Disk, cache: BlockCache) -> int:
    """How many blocks there are."""
    if disk.size < (BITMAP + 1) * BLOCK_SIZE:
        raise damaged(disk.name, SUPERBLOCK, f"a disk of {disk.size} bytes has no superblock and bitmap")
    magic, blocks = decode_super(bytes(cache.block(SUPERBLOCK)[:ROOT_OFFSET]))
    if magic != MAGIC:
        raise damaged(disk.name, SUPERBLOCK, f"not a JOS-FS disk: its magic is {magic:#010x} instead of {MAGIC:#010x}")
    most = min(disk.size // BLOCK_SIZE, MOST_BLOCKS)
    if not BITMAP + bitmap_blocks(blocks) <= blocks <= most:
        raise damaged(disk.name, SUPERBLOCK, f"the superblock is for {blocks} blocks: the disk has {most} of {BLOCK_SIZE} bytes")
    return blocks


def _components(path: str) -> list[str]:
    """The names in a path. JosFsBadPath if one is too long."""
    names = [name for name in path.split("/") if name]
    for name in names:
        if "\0" in name or len(encode_name(name)) > LONGEST_NAME:
            raise JosFsBadPath(f"a file cannot be named {name[:40]!r}: a name has up to {LONGEST_NAME} bytes, and no NUL")
    return names
