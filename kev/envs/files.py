"""The files that the host's file system serves: whatever is behind them."""

from typing import Final, Protocol

from kev.dev.block_device import BlockBackend
from kev.envs.errors import JosError, JosFailure
from kev.fs.block_cache import BlockCache

LONGEST_NAME: Final = 127
"""Of one component of a path, in bytes (JOS, MAXNAMELEN less the NUL)."""


class HostFile(Protocol):
    """An open file. All of it raises JosFailure, and what a disk raises."""

    name: str
    """Without its folder."""

    @property
    def size(self) -> int:
        """In bytes."""

    @property
    def is_directory(self) -> bool: ...

    def read(self, offset: int, length: int) -> bytes:
        """Fewer bytes at the file's end."""

    def write(self, offset: int, data: bytes) -> None:
        """The file grows if it must, and can."""

    def resize(self, size: int) -> None: ...

    def flush(self) -> None:
        """What was written is on the disk."""


class HostFiles(Protocol):
    """The files of a host, by path. JosFailure: E_NOT_FOUND, E_BAD_PATH, E_FILE_EXISTS and others."""

    def open(self, path: str) -> HostFile: ...

    def create(self, path: str, *, directory: bool) -> HostFile: ...

    def remove(self, path: str) -> None: ...

    def sync(self) -> None:
        """What was written anywhere is on the disk."""


class DiskImage:
    """A whole disk as a file, which keeps its size. It is read through a cache, and written through it."""

    is_directory: Final = False

    def __init__(self, name: str, disk: BlockBackend) -> None:
        self.name: Final = name
        self._disk: Final = disk
        self.cache: Final = BlockCache(disk, name)

    @property
    def size(self) -> int:
        return self._disk.size

    def read(self, offset: int, length: int) -> bytes:
        return self.cache.read(offset, max(0, min(length, self.size - offset)))

    def write(self, offset: int, data: bytes) -> None:
        self._check_writable()
        if offset + len(data) > self.size:
            raise self._cannot_grow(offset + len(data))
        self.cache.write(offset, data)
        self.cache.flush()

    def resize(self, size: int) -> None:
        if size > self.size:
            raise self._cannot_grow(size)
        if size != self.size:
            raise JosFailure(JosError.INVAL, f"{self.name}: a disk of {self.size} bytes does not become one of {size}")

    def flush(self) -> None:
        self.cache.flush()
        self._disk.flush()

    def _check_writable(self) -> None:
        if not self._disk.writable:
            raise JosFailure(JosError.INVAL, f"{self.name}: the disk is read-only")

    def _cannot_grow(self, size: int) -> JosFailure:
        return JosFailure(JosError.NO_DISK, f"{self.name}: {size} bytes do not fit: the disk has {self.size} and never grows")


class DiskImages:
    """A host that has no files but the disks of its guests: `/vmm/fs1.img` is that of the first guest, and so on."""

    def __init__(self) -> None:
        self._images: Final[dict[str, DiskImage]] = {}

    def add(self, guest_number: int, disk: BlockBackend) -> DiskImage:
        """The disk of the guest with this number, from 1."""
        name = f"fs{guest_number}.img"
        image = self._images[f"/vmm/{name}"] = DiskImage(name, disk)
        return image

    def open(self, path: str) -> HostFile:
        check_path(path)
        image = self._images.get("/" + "/".join(filter(None, path.split("/"))))
        if image is None:
            raise JosFailure(JosError.NOT_FOUND, f"{path}: there is no such file: the host has {', '.join(self._images) or 'none'}")
        return image

    def create(self, path: str, *, directory: bool) -> HostFile:
        raise self._has_no_more(path)

    def remove(self, path: str) -> None:
        self.open(path)
        raise self._has_no_more(path)

    def sync(self) -> None:
        for image in self._images.values():
            image.flush()

    def _has_no_more(self, path: str) -> JosFailure:
        return JosFailure(JosError.INVAL, f"{path}: the host's files are the disks of its guests: none is made or removed")


def check_path(path: str) -> None:
    """JosFailure (E_BAD_PATH) if a component is too long."""
    for component in path.split("/"):
        if len(component.encode(errors="surrogateescape")) > LONGEST_NAME:
            raise JosFailure(JosError.BAD_PATH, f"{component[:20]}...: a name has at most {LONGEST_NAME} bytes")
