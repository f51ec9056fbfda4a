"""Where a snapshot is written to: a file beside the one that it will be, or one that somebody else has made."""

import os
from typing import Final

from kev.snapshot.errors import SnapshotError
from kev.user_files import real_path, synchronize_folder


class NewFile(os.PathLike[str]):
    """A file that gets its name when it is whole and on the disk. Either `commit` or `discard` it."""

    def __init__(self, file: str | os.PathLike[str]) -> None:
        """SnapshotError if it cannot be written there."""
        self.name: Final = os.fspath(file)
        """What messages call it."""
        self._path: Final = real_path(self.name)
        if os.path.exists(self._path) and not os.path.isfile(self._path):
            raise SnapshotError(f"{self.name}: is no regular file, which a snapshot has to be")
        self._folder, base = os.path.split(self._path)
        self._temporary: Final = os.path.join(self._folder, f".{base}.{os.urandom(6).hex()}")
        try:
            self.descriptor: Final = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise failed(self.name, error) from error
        self._is_left = False

    def __fspath__(self) -> str:
        return self.name

    def commit(self) -> None:
        """Waits until everything is on the disk, and gives the file its name. SnapshotError if that fails."""
        try:
            os.fsync(self.descriptor)
            os.replace(self._temporary, self._path)
            self._is_left = True
            os.close(self.descriptor)
            synchronize_folder(self._folder)
        except OSError as error:
            raise failed(self.name, error) from error

    def discard(self) -> None:
        """Leaves nothing behind of what was written, unless it was committed."""
        if not self._is_left:
            self._is_left = True
            os.close(self.descriptor)
            os.unlink(self._temporary)


class GivenFile(os.PathLike[str]):
    """A file that somebody else has opened, and gives its name when it is whole."""

    def __init__(self, name: str, descriptor: int) -> None:
        """`name` is for messages. `descriptor` is closed by `commit` or `discard`."""
        self.name: Final = name
        self.descriptor: Final = descriptor
        self._is_closed = False

    def __fspath__(self) -> str:
        return self.name

    def commit(self) -> None:
        self.close()

    def discard(self) -> None:
        self.close()

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            os.close(self.descriptor)


def failed(name: str, error: OSError) -> SnapshotError:
    return SnapshotError(f"{name}: cannot be written: {error.strerror}")
