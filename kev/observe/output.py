"""Files that are written about runs: whole, or not at all."""

import os
import stat
import sys
from errno import ENXIO
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

from kev.errors import KevError
from kev.user_files import real_path

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STANDARD_OUTPUT: Final = "-"
"""As the name of a file; ./- is one of that name."""
_MOST_LINKS: Final = 40
"""That are followed from one to the next, as by Linux (path_resolution(7))."""
_LOOK_EVERY: Final = 0.02
"""Seconds between two looks whether somebody reads a FIFO."""


class OutputError(KevError):
    """A file cannot be written where it is wanted."""


def check_writable(file: str | os.PathLike[str], regular: str | None = None) -> None:
    """OutputError if `file` cannot be written: better before a long run than after it.

    `regular` is what it will be, in words, if that has to be a regular file.
    """
    name = os.fspath(file)
    if name == STANDARD_OUTPUT and regular is None:
        _check_standard_output()
        return
    if not name:
        raise OutputError("'': it must be the name of a file")
    descriptor = _own_descriptor(name)
    path = real_path(name)
    if regular is not None and (
        descriptor is not None or (os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path))
    ):
        raise OutputError(f"{name}: is no regular file, which {regular} has to be")
    if descriptor == 1:
        _check_standard_output()
    if descriptor is not None:
        try:
            os.fstat(descriptor)
        except OSError as error:
            raise OutputError(f"{name}: cannot be written: {error.strerror}") from error
        return
    if os.path.islink(path):
        raise OutputError(f"{name}: is a link that leads to itself")
    folder = os.path.dirname(path)
    try:
        os.lstat(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise OutputError(f"{name}: cannot be written: {error.strerror if isinstance(error, OSError) else error}") from error
    if os.path.isdir(path):
        raise OutputError(f"{name}: is a folder")
    if not os.path.isdir(folder):
        raise OutputError(f"{name}: there is no folder {folder}")
    exists = os.path.exists(path)
    # A regular file is replaced by a new one: for that, its folder is written to.
    places = ([path] if exists else []) + ([folder] if not exists or os.path.isfile(path) else [])
    if not all(os.access(place, os.W_OK) for place in places):
        raise OutputError(f"{name}: no permission to write")
    if os.path.isfile(path):
        _check_not_printed_to(name, os.stat(path))


def is_standard_output(file: str | os.PathLike[str] | None) -> bool:
    """Whether it is written there; then that is no place for anything else a command has to say."""
    return file is not None and os.fspath(file) == STANDARD_OUTPUT


def _check_standard_output() -> None:
    if not hasattr(sys.stdout, "fileno"):
        raise OutputError("standard output cannot be written: it is closed")


def name_of_output(file: str | os.PathLike[str]) -> str:
    """What it is called where it is said that it was written."""
    return "standard output" if is_standard_output(file) else os.fspath(file)


def _check_not_printed_to(name: str, status: os.stat_result) -> None:
    """OutputError if what is printed goes into the file, which would be replaced with that in it."""
    for descriptor, what in ((1, "standard output"), (2, "standard error")):
        try:
            printed_to = os.fstat(descriptor)
        except OSError:  # it is closed
            continue
        if os.path.samestat(status, printed_to):
            raise OutputError(f"{name}: {what} goes there, too, and would be lost")


def _own_descriptor(name: str) -> int | None:
    """Which of this process's own descriptors the file is, such as /dev/stdout; None if it is another file."""
    if name == STANDARD_OUTPUT:
        return 1
    path = os.path.abspath(name)
    own = f"/proc/{os.getpid()}/"
    for _ in range(_MOST_LINKS):
        folder, base = os.path.split(path)
        folder = real_path(folder)
        if base.isdecimal() and (folder == "/dev/fd" or (folder.startswith(own) and folder.endswith("/fd"))):
            return int(base)
        try:
            path = os.path.join(folder, os.readlink(path))
        except (OSError, ValueError):  # it is no link, or one that nobody may follow
            return None
    return None


def write_json(file: str | os.PathLike[str], value: Any, *, compact: bool = False) -> None:
    """Writes `value` as `write_text` does, for a person to read or, if it is long, `compact`."""
    write_text(file, json_text(value, compact=compact))


def json_text(value: Any, *, compact: bool = False) -> str:
    """JSON for a person to read or, if it is long, `compact`."""
    import json

    return (json.dumps(value, separators=(",", ":")) if compact else json.dumps(value, indent=2)) + "\n"


def write_text(file: str | os.PathLike[str], text: str) -> None:
    """Writes `text` as `write_bytes` does."""
    write_bytes(file, text.encode("utf-8"))


def write_bytes(file: str | os.PathLike[str], data: bytes, *, patience: float = 1.0) -> None:
    """Writes a file beside `file` and renames it, so that nobody sees half of it.

    What a symbolic link leads to is replaced, and not the link; a device, a FIFO or a descriptor (/dev/stdout) is written to.
    "-" is standard output. `patience` is how many seconds somebody has to open a FIFO to read it. OutputError.
    """
    if is_standard_output(file):
        _print(data)
        return
    path = real_path(file)
    descriptor = _own_descriptor(os.fspath(file))
    try:
        if descriptor is not None:
            _write_all(descriptor, data)
        elif os.path.exists(path) and not os.path.isfile(path):
            device = _opened_device(path, patience)
            try:
                _write_all(device, data)
            finally:
                os.close(device)
        else:
            _replace(path, data)
    except OSError as error:
        raise OutputError(f"{os.fspath(file)}: cannot be written: {error.strerror}") from error


def _opened_device(path: str, patience: float) -> int:
    """A descriptor for writing to a device or a FIFO. OSError, also if nobody comes to read a FIFO."""
    end = monotonic() + patience
    while True:
        try:
            # Without O_NONBLOCK a FIFO would wait for its reader here, for ever if there is none.
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != ENXIO or not stat.S_ISFIFO(os.stat(path).st_mode):
                raise
            if monotonic() > end:
                raise OSError(ENXIO, f"nobody has come to read it within {patience:g} s") from error
            sleep(_LOOK_EVERY)
        else:
            os.set_blocking(descriptor, True)
            return descriptor


def write_patiently(descriptor: int, data: "ReadableBuffer") -> int:
    """As `os.write`, which waits for a reader here also where the descriptor was made not to wait."""
    while True:
        try:
            return os.write(descriptor, data)
        except BlockingIOError:
            from select import POLLOUT, poll

            writable = poll()
            writable.register(descriptor, POLLOUT)
            writable.poll()


def _print(data: bytes) -> None:
    """Writes to standard output, behind what was printed."""
    try:
        sys.stdout.flush()
        try:
            descriptor = sys.stdout.fileno()
        except OSError:  # it is not the operating system's
            sys.stdout.buffer.write(data)
            sys.stdout.flush()
        else:
            _write_all(descriptor, data)
    except (AttributeError, OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is closed"
        raise OutputError(f"standard output cannot be written: {reason}") from error


def _write_all(descriptor: int, data: bytes) -> None:
    """Behind what was written there, however slowly it is read."""
    rest = memoryview(data)
    while rest:
        rest = rest[write_patiently(descriptor, rest) :]


def _replace(path: str, data: bytes) -> None:
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as draft:
            draft.write(data)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
