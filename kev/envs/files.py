"""The files that the host's file system serves: whatever is behind them."""

from typing import Final, Protocol

from kev.dev.block_device import BlockBackend
from kev.envs.errors import JosError, JosFailure
from kev.fs.block_cache import BlockCache

_ONLY: Final = "/vmm/fs.img"
_FIRST: Final = "/vmm/fs1.img"
LONGEST_NAME: Final = 127
"""Of one component of a path, in bytes (JOS, MAXNAMELEN less the NUL)."""


class HostFile(Protocol):
    """An open file. All of it raises JosFailure, and what a disk raises."""

    @property
    def name(self) -> str:
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

    def forget(self) -> None:
        """The disks may hold something else now: what is kept of them in memory is of no use."""


class DiskImage:
    """A whole disk as a file, which keeps its size. It is read through a cache, and written through it."""

    def __init__(self, name: str, disk: BlockBackend) -> None:
        self.name: Final = name
        self.is_directory: Final = False
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
    """The disks of a host's guests: `/vmm/fs1.img` is that of the first guest, and so on. There may be other files beside them.

    The first editions of the lab know one guest: `/vmm/fs.img` is the first one's, too.
    """

    def __init__(self, beside: HostFiles | None = None) -> None:
        """`beside` has all other files; by default there are none."""
        self._images: Final[dict[str, DiskImage]] = {}
        self._beside: Final = beside

    def add(self, guest_number: int, disk: BlockBackend) -> DiskImage:
        """The disk of the guest with this number, from 1."""
        name = f"fs{guest_number}.img"
        image = self._images[f"/vmm/{name}"] = DiskImage(name, disk)
        return image

    def open(self, path: str) -> HostFile:
        check_path(path)
        image = self._image(path)
        if image is not None:
            return image
        if self._beside is None:
            raise JosFailure(JosError.NOT_FOUND, f"{path}: there is no such file: the host has {', '.join(self._images) or 'none'}")
        return self._beside.open(path)

    def create(self, path: str, *, directory: bool) -> HostFile:
        check_path(path)
        if self._image(path) is not None:
            raise JosFailure(JosError.FILE_EXISTS, f"{path}: a guest's disk is there already")
        if self._beside is None:
            raise JosFailure(JosError.INVAL, f"{path}: the host's files are the disks of its guests: none is made")
        return self._beside.create(path, directory=directory)

    def remove(self, path: str) -> None:
        check_path(path)
        if self._image(path) is not None:
            raise JosFailure(JosError.INVAL, f"{path}: it is a guest's disk, and cannot be removed")
        if self._beside is None:
            raise JosFailure(JosError.NOT_FOUND, f"{path}: there is no such file")
        self._beside.remove(path)

    def sync(self) -> None:
        for image in self._images.values():
            image.flush()
        if self._beside is not None:
            self._beside.sync()

    def forget(self) -> None:
        for image in self._images.values():
            image.cache.drop()
        if self._beside is not None:
            self._beside.forget()

    def _image(self, path: str) -> DiskImage | None:
        plain = "/" + "/".join(filter(None, path.split("/")))
        return self._images.get(_FIRST if plain == _ONLY else plain)


def check_path(path: str) -> None:
    """JosFailure (E_BAD_PATH) if a component is too long."""
    for component in path.split("/"):
        if len(component.encode(errors="surrogateescape")) > LONGEST_NAME:
            raise JosFailure(JosError.BAD_PATH, f"{component[:20]}...: a name has at most {LONGEST_NAME} bytes")
