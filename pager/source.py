"""Where the bytes of guest pages come from: positional reads straight into a caller's buffer."""

import os
import stat
from abc import ABC, abstractmethod
from array import array
from collections.abc import Awaitable, Callable, Iterator
from time import monotonic, monotonic_ns
from types import CoroutineType
from typing import Final, Protocol, Self, TypeAlias, TypeVar, runtime_checkable

from kev.addressing import KIB, PAGE_SIZE
from kev.errors import KevError
from kev.pager.errors import ImageError
from kev.state import SNAPSHOT_MAGIC

_LOOK_EVERY: Final = 1_000_000  # nanoseconds
_LOOK_WHETHER_UNWANTED: Final = 0.05  # seconds
_SAMPLES: Final = 4

Answer = TypeVar("Answer")


class SourceError(KevError):
    """A source cannot be opened or read, or ends before the bytes that were asked for."""


class NoAnswer(Exception):
    """Whoever was asked has said nothing for too long, and does not have to be waited for."""


class PageSource(Protocol):
    """Bytes that can be read at any offset. Reads are independent of each other: there is no file position."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def size(self) -> int:
        """In bytes."""

    def read_into(self, offset: int, buffer: memoryview, /) -> int | Awaitable[int]:
        """Reads the bytes from `offset` on into `buffer` and returns how many; 0 only at the end of the source.

        An asynchronous source returns an awaitable of that number, and does not touch `buffer` any more once the awaitable has
        finished or was cancelled. SourceError if the bytes cannot be read.
        """


class SynchronousSource(PageSource, Protocol):
    """A source that never has to be awaited."""

    def read_into(self, offset: int, buffer: memoryview, /) -> int: ...


OpenFile: TypeAlias = "array[int]"
"""For who reads a file of the host without asking, as `native/tlb.c` does: two quadwords, which whoever has opened it keeps true.

The descriptor, or -1 when it is closed; and until when no change has to be looked for, in nanoseconds of the monotonic clock.
"""
UNWATCHED: Final = (1 << 63) - 1
"""No change is ever looked for."""


@runtime_checkable
class SourceInFile(PageSource, Protocol):
    """A source whose bytes lie in a row in a file of the host, where they may also be read."""

    @property
    def place(self) -> "tuple[OpenFile, int] | None":
        """The file, and the offset of the first byte in it; None if there is no such file."""


class AsynchronousSource(ABC):
    """A source that has to be awaited. What cannot wait, such as the reading of headers, reads it through `blocking`."""

    def __init__(self, blocking: SynchronousSource, *, at_hand: bool = False) -> None:
        """`at_hand`: a read of `blocking` takes no time, so that nobody has to watch it."""
        self.name: Final = blocking.name
        self.size: Final = blocking.size
        self._patient: Final = PatientSource(blocking)
        self.blocking: Final[SynchronousSource] = blocking if at_hand else HeadSource(self._patient)
        """The same bytes; a read holds up the thread until they are there, or for too long."""

    def hurry(self, seconds: float) -> None:
        """From now on, a read through `blocking` may take so long and no longer."""
        self._patient.patience = seconds

    def hurry_all(self, seconds: float) -> None:
        """From now on, all reads through `blocking` together may take so long and no longer."""
        self._patient.end = monotonic() + seconds

    @abstractmethod
    def read_into(self, offset: int, buffer: memoryview, /) -> int | Awaitable[int]:
        """As `PageSource` says; an int if the bytes are at hand."""


class PatientSource:
    """A source that is given up when a read takes too long. The read goes on in a thread of its own, and nobody looks at it."""

    def __init__(self, inner: SynchronousSource, patience: float = 30.0) -> None:
        self.name: Final = inner.name
        self.size: Final = inner.size
        self.patience = patience
        """Seconds that a read may take."""
        self.end: float | None = None
        """When nobody waits for a read any more, by `time.monotonic`."""
        self._inner: Final = inner
        self._given_up = False

    def read_into(self, offset: int, buffer: memoryview, /) -> int:
        """SourceError if it takes longer than `patience`, or until `end`, and from then on."""
        patience = self.patience if self.end is None else min(self.patience, self.end - monotonic())
        if self._given_up or patience <= 0:
            raise SourceError(f"{self.name}: does not answer, and is not asked any more")
        data = bytearray(len(buffer))
        try:
            count = answered(lambda: self._inner.read_into(offset, memoryview(data)), patience, self.name)
        except NoAnswer as error:
            self._given_up = True
            raise SourceError(f"{self.name}: {len(buffer)} bytes at offset {offset:#x} cannot be read: {error}") from None
        buffer[:] = data
        return count


def answered(ask: Callable[[], Answer], patience: float, name: str) -> Answer:
    """What `ask`, which reads `name`, returns or raises in a thread of its own.

    NoAnswer if it takes longer than `patience`, or if this work is to stop: whoever works looks for that (`kev.work.stopping`).
    """
    import threading

    from kev.work.stopping import watched

    came = threading.Event()
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            answers.append(ask())
        except BaseException as error:
            errors.append(error)
        came.set()

    threading.Thread(target=wait, name=f"kev read of {name}", daemon=True).start()
    is_unwanted, end = watched(), monotonic() + patience
    while not came.wait(min(_LOOK_WHETHER_UNWANTED, max(end - monotonic(), 0))):
        if is_unwanted():
            raise NoAnswer("nobody waits for it any more")
        if monotonic() >= end:
            raise NoAnswer(f"no answer within {patience:g} s")
    if errors:
        raise errors[0]
    return answers[0]


class HeadSource:
    """A source whose beginning is read once: headers are many small reads, each of which might take a round trip."""

    def __init__(self, inner: SynchronousSource, length: int = 64 * KIB) -> None:
        """`length` is how many bytes are kept."""
        self.name: Final = inner.name
        self.size: Final = inner.size
        self._inner: Final = inner
        self._length: Final = min(length, inner.size)
        self._head = b""

    def read_into(self, offset: int, buffer: memoryview, /) -> int:
        end = offset + len(buffer)
        if end > self._length:
            return self._inner.read_into(offset, buffer)
        if not self._head:
            self._head = read_bytes(self._inner, 0, self._length)
        buffer[:] = self._head[offset:end]
        return len(buffer)


class FileSource:
    """A file of the host. A read is one `preadv`: the kernel copies from its page cache into the buffer, and nothing else does."""

    __slots__ = ("_descriptor", "_open", "_stamp", "name", "size")

    def __init__(self, path: str | os.PathLike[str], *, watched: bool = True) -> None:
        """Opens `path` for reading. SourceError if that is not possible, or if it is neither a regular file nor a block device.

        Not `watched`, it may be changed while it is in use: it is a disk that a guest writes.
        """
        self.name: Final = os.fspath(path)
        try:
            # Without O_NONBLOCK a FIFO would wait for its writer here.
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise SourceError(f"{self.name}: cannot be opened: {error.strerror}") from error
        self._open: Final[OpenFile] = array("q", (self._descriptor, 0))
        mode = os.fstat(self._descriptor).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            self.close()
            what = "is a folder" if stat.S_ISDIR(mode) else "is neither a regular file nor a block device"
            raise SourceError(f"{self.name}: {what}")
        try:
            self.size: Final = os.lseek(self._descriptor, 0, os.SEEK_END)
        except OSError as error:
            self.close()
            raise SourceError(f"{self.name}: has no size: {error.strerror}") from error
        self._stamp: Final = self.modified if watched and stat.S_ISREG(mode) else None
        if self._stamp is None:
            self._open[1] = UNWATCHED

    def read_into(self, offset: int, buffer: memoryview, /) -> int:
        """SourceError if it cannot be read, or if the file was changed since it was opened: that is seen within a millisecond."""
        try:
            count = os.preadv(self._descriptor, (buffer,), offset)
            now = monotonic_ns()
            if now > self._open[1]:
                if self.modified != self._stamp:
                    raise SourceError(f"{self.name}: was changed while it was in use, so that old and new bytes would be mixed")
                self._open[1] = now + _LOOK_EVERY
            return count
        except OSError as error:
            raise SourceError(f"{self.name}: {len(buffer)} bytes at offset {offset:#x} cannot be read: {error.strerror}") from error

    @property
    def modified(self) -> int:
        """When the file was last written to, in nanoseconds since 1970."""
        return os.fstat(self._descriptor).st_mtime_ns

    @property
    def place(self) -> tuple[OpenFile, int]:
        return self._open, 0

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = self._open[0] = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def blocking(source: SynchronousSource | AsynchronousSource) -> SynchronousSource:
    """The same bytes, for who does not wait for them."""
    return source.blocking if isinstance(source, AsynchronousSource) else source


def is_snapshot(source: SynchronousSource | AsynchronousSource) -> bool:
    """Whether a machine was saved in a source."""
    return read_bytes(blocking(source), 0, min(len(SNAPSHOT_MAGIC), source.size)) == SNAPSHOT_MAGIC


def read_exactly(source: PageSource, offset: int, buffer: memoryview) -> bool | Awaitable[bool]:
    """Fills all of `buffer`: True, or an awaitable of True. SourceError if the source ends before, or whatever else it raises."""
    try:
        count = source.read_into(offset, buffer)
        if count == len(buffer):
            return True
        if isinstance(count, int):
            return _read_rest(source, offset, buffer, count)
    except KevError:
        raise
    except Exception as error:
        raise _broken(source, offset, buffer, error) from error
    if not hasattr(count, "__await__"):  # in half the time of `isinstance`
        raise _no_count(source, offset, buffer, 0, count)
    return _await_rest(source, offset, buffer, 0, count)


def read_bytes(source: SynchronousSource, offset: int, length: int) -> bytes:
    """`length` bytes from `offset` on. SourceError as from `read_exactly`."""
    data = bytearray(length)
    buffer, done = memoryview(data), 0
    try:
        while done < length:
            done = _advanced(source, offset, buffer, done, source.read_into(offset + done, buffer[done:]))
    except KevError:
        raise
    except Exception as error:
        raise _broken(source, offset, buffer, error) from error
    return bytes(data)


def read_image(source: SynchronousSource, offset: int, length: int, what: str) -> bytes:
    """The same of an image's headers or sections. ImageError, with `what`, if the file ends before."""
    if offset + length > source.size:
        raise ImageError(f"{source.name}: {what} ends at offset {offset + length:#x}, the file at {source.size:#x}: truncated")
    return read_bytes(source, offset, length)


def samples(source: SynchronousSource) -> Iterator[bytes]:
    """The first page, the last, and some between, to tell another version of a file that takes too long to read."""
    length = min(PAGE_SIZE, source.size)
    for index in range(_SAMPLES):
        yield read_bytes(source, (source.size - length) * index // (_SAMPLES - 1), length)


def _read_rest(source: PageSource, offset: int, buffer: memoryview, count: int) -> bool | Awaitable[bool]:
    done = _advanced(source, offset, buffer, 0, count)
    while done < len(buffer):
        more = source.read_into(offset + done, buffer[done:])
        if not isinstance(more, int):
            return _await_rest(source, offset, buffer, done, more)
        done = _advanced(source, offset, buffer, done, more)
    return True


async def _await_rest(source: PageSource, offset: int, buffer: memoryview, done: int, pending: Awaitable[int]) -> bool:
    try:
        count = await pending
        if count == len(buffer) - done:
            return True
        done = _advanced(source, offset, buffer, done, count)
        while done < len(buffer):
            more = source.read_into(offset + done, buffer[done:])
            done = _advanced(source, offset, buffer, done, more if isinstance(more, int) else await more)
    except KevError:
        raise
    except Exception as error:
        raise _broken(source, offset, buffer, error) from error
    return True


def _no_count(source: PageSource, offset: int, buffer: memoryview, done: int, count: object) -> SourceError:
    """What is wrong with what was returned as the number of bytes that were read."""
    if isinstance(count, CoroutineType):
        count.close()
        return SourceError(f"{source.name}: its read_into has to be awaited: derive it from AsynchronousSource")
    asked = f"{len(buffer) - done} bytes at offset {offset + done:#x}"
    return SourceError(f"{source.name}: asked for {asked}, it says that it has read {count!r}")


def _advanced(source: PageSource, offset: int, buffer: memoryview, done: int, count: int) -> int:
    """How many bytes are there after `count` more. SourceError if there were none, or if there cannot be so many."""
    if not isinstance(count, int) or count > len(buffer) - done:
        raise _no_count(source, offset, buffer, done, count)
    if count <= 0:
        raise SourceError(
            f"{source.name}: ends {len(buffer) - done} bytes too early: {len(buffer)} bytes were expected at offset {offset:#x}"
        )
    return done + count


def _broken(source: PageSource, offset: int, buffer: memoryview, error: Exception) -> SourceError:
    """For what a source must not raise, but does."""
    why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return SourceError(f"{source.name}: {len(buffer)} bytes at offset {offset:#x} cannot be read: {why}")
