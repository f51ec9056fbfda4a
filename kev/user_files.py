"""Files that users name: nothing in them, and nothing that they are, can make it wait or take memory without bound."""

import os
import stat
from typing import BinaryIO, Final

from kev.addressing import KIB, MIB
from kev.errors import KevError

STANDARD_INPUT: Final = "-"
"""As the name of a file, for whoever may wait for it."""


def read_user_file(
    file: str | os.PathLike[str], most: int, error: type[KevError], magic: bytes = b"", *, waits: bool = False
) -> bytes:
    """The contents of a regular file. `error` if there is none of that name, if it cannot be read or has more than `most` bytes.

    Of one that does not begin with `magic`, which whoever parses it will find, only the beginning is read. `waits`: it may be a
    FIFO, or standard input as `STANDARD_INPUT`, for whose end the caller waits, as for what a person has named on a command line.
    """
    name = os.fspath(file)
    if waits and (name == STANDARD_INPUT or _is_fifo(name)):
        return _read_to_end(name, most, error)
    try:
        # Without O_NONBLOCK a FIFO would wait for its writer here.
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as reason:
        raise error(f"{name}: cannot be read: {_reason(reason)}") from reason
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise error(f"{name}: cannot be read: is no regular file")
        # A file of a file system such as /proc may have more bytes than it says.
        is_too_large = status.st_size > most
        data = b"" if is_too_large else _read(descriptor, most + 1, magic)
    except OSError as reason:
        raise error(f"{name}: cannot be read: {_reason(reason)}") from reason
    finally:
        os.close(descriptor)
    if is_too_large or len(data) > most:
        raise error(f"{name}: is too large: there may be {_size_text(most)} of it")
    return data


def open_storage(path: str | os.PathLike[str], *, writes: bool, creates: bool = False) -> BinaryIO | None:
    """A regular file or a block device, unbuffered, for reading or for both; None if it is something else. OSError, ValueError.

    `creates`: if there is none of that name, an empty file is made.
    """
    # Without O_NONBLOCK a FIFO would wait for its other end here.
    flags = (os.O_RDWR if writes else os.O_RDONLY) | (os.O_CREAT if creates else 0) | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o666)
    mode = os.fstat(descriptor).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        os.close(descriptor)
        return None
    return open(descriptor, "r+b" if writes else "rb", buffering=0)


def real_path(name: str | os.PathLike[str]) -> str:
    """Where the links in a name lead, whether there is something or not; if they may not be followed, the name from the root on."""
    try:
        return os.path.realpath(name)
    # Of a link that others alone may follow, as in /proc, or of a name that no file can have.
    except (OSError, ValueError):
        return os.path.abspath(os.fspath(name))


def without_working_directory(error: OSError) -> str | None:
    """What to say if `error` came because the working directory was removed, where relative names lead nowhere; else None."""
    if not isinstance(error, FileNotFoundError) or error.filename is not None:
        return None
    try:
        os.getcwd()
    except FileNotFoundError:
        return "the working directory is not there any more: go to another one"
    return None


def synchronize_folder(folder: str | os.PathLike[str]) -> None:
    """Waits until the new names of files in it are on the disk. OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(descriptor: int, most: int, magic: bytes) -> bytes:
    pieces: list[bytes] = []
    length = 0
    while length < most and (more := os.read(descriptor, min(most - length, MIB))):
        pieces.append(more)
        length += len(more)
        if not pieces[0].startswith(magic):
            break
    return b"".join(pieces)


def _is_fifo(name: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(name).st_mode)
    except (OSError, ValueError):
        return False


def _read_to_end(name: str, most: int, error: type[KevError]) -> bytes:
    try:
        with open(0 if name == STANDARD_INPUT else name, "rb", closefd=name != STANDARD_INPUT) as stream:
            data = stream.read(most + 1)
    except OSError as reason:
        raise error(f"{name}: cannot be read: {_reason(reason)}") from reason
    if len(data) > most:
        raise error(f"{name}: is too large: there may be {_size_text(most)} of it")
    return data


def _reason(error: OSError | ValueError) -> str:
    return str(error.strerror if isinstance(error, OSError) else error)


def _size_text(size: int) -> str:
    return f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"
