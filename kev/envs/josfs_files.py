"""The files of a host with a disk of its own: JOS' file system."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from kev.envs.errors import JosError, JosFailure
from kev.envs.files import HostFile
from kev.fs.errors import JosFsBadPath, JosFsError, JosFsExists, JosFsFull, JosFsNotFound
from kev.fs.josfs import JosFile, JosFs

_CODES: Final[dict[type[JosFsError], JosError]] = {
    JosFsNotFound: JosError.NOT_FOUND,
    JosFsExists: JosError.FILE_EXISTS,
    JosFsBadPath: JosError.BAD_PATH,
    JosFsFull: JosError.NO_DISK,
}


class JosFsFile:
    """A file of the disk."""

    def __init__(self, file: JosFile) -> None:
        self._file: Final = file

    @property
    def name(self) -> str:
        return self._file.name

    @property
    def size(self) -> int:
        return self._file.size

    @property
    def is_directory(self) -> bool:
        return self._file.is_directory

    def read(self, offset: int, length: int) -> bytes:
        return self._file.read_at(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        with _codes():
            self._file.write_at(offset, data)

    def resize(self, size: int) -> None:
        with _codes():
            self._file.resize(size)

    def flush(self) -> None:
        self._file.flush()


class JosFsFiles:
    """See `kev.envs.files.HostFiles`. What is written reaches the disk with FLUSH and SYNC."""

    def __init__(self, fs: JosFs) -> None:
        self.fs: Final = fs

    def open(self, path: str) -> HostFile:
        with _codes():
            return JosFsFile(self.fs.open(path))

    def create(self, path: str, *, directory: bool) -> HostFile:
        with _codes():
            return JosFsFile(self.fs.create(path, directory=directory))

    def remove(self, path: str) -> None:
        with _codes():
            self.fs.remove(path)

    def sync(self) -> None:
        self.fs.flush()

    def forget(self) -> None:
        self.fs.cache.drop()


@contextmanager
def _codes() -> Iterator[None]:
    """Errors of the file system get JOS' codes."""
    try:
        yield
    except JosFsError as error:
        raise JosFailure(_CODES.get(type(error), JosError.INVAL), str(error)) from error
