"""A source behind a URL: a web server, or whatever fsspec reads, in ranges, with the ranges read last kept."""

import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Awaitable
from typing import Any, Final, Self

from kev.addressing import MIB
from kev.pager.checked_reader import BLOCK, BlockDigests, CheckedReader, RangeReader
from kev.pager.protocols import Rendezvous
from kev.pager.source import AsynchronousSource, NoAnswer, SourceError, answered

_BLOCK: Final = BLOCK
"""What is read at least: a page comes with its neighbours, for which a request of their own would take as long."""
_KEPT_BLOCKS: Final = 256
_LARGEST_MANIFEST: Final = 64 * MIB
_PARALLEL_REQUESTS: Final = 16
_PATIENCE: Final = 30.0
"""Seconds that opening may take what is not a web server's."""
_LINK: Final = "::"
"""Between the links of a chained URL: the last of them says where the file is that the others look into."""
_SCHEMES_OF_HOST_FILES: Final = ("file://", "local://")
DIGEST_MARK: Final = "#blocks="
"""In a URL, what follows is the digest of its file's manifest (`kev.pager.checked_reader`)."""
MANIFEST: Final = ".blocks"
"""What the URL of a manifest has more than that of its file."""


class FsspecSource(AsynchronousSource):
    """The file behind a URL, such as `https://host/kernel`, `zip://kernel::archive.zip` or `memory://kernel`."""

    def __init__(self, blocking: RangeReader) -> None:
        super().__init__(blocking)
        self._remote: Final = blocking
        self._blocks: Final[OrderedDict[int, bytes]] = OrderedDict()
        self._under_way: Final[dict[int, Rendezvous]] = {}
        self._limiter: Any = None

    @classmethod
    def open(cls, url: str) -> Self:
        """SourceError if there is nothing behind `url`, or if what it takes to read it is not installed.

        Behind `DIGEST_MARK` a URL may have the digest of a manifest, which lies beside the file: then every block is checked.
        """
        return cls(range_reader(url))

    def close(self) -> None:
        """Gives back what reading takes, such as connections."""
        self._remote.close()

    def read_into(self, offset: int, buffer: memoryview, /) -> int | Awaitable[int]:
        length = max(min(len(buffer), self.size - offset), 0)
        numbers = range(offset // _BLOCK, -(-(offset + length) // _BLOCK))
        if all(number in self._blocks for number in numbers):
            return self._copy(offset, buffer[:length], numbers)
        return self._read(offset, buffer[:length], numbers)

    async def _read(self, offset: int, buffer: memoryview, numbers: range) -> int:
        number = numbers.start
        while number < numbers.stop:
            if number in self._under_way:
                await self._under_way[number].wait()
                continue
            run = self._run_from(number, numbers.stop)
            data = self._kept(number) if number in self._blocks else await self._request(run)
            _copy_common(data, number * _BLOCK, buffer, offset)
            number = run.stop
        return len(buffer)

    def _copy(self, offset: int, buffer: memoryview, numbers: range) -> int:
        for number in numbers:
            _copy_common(self._kept(number), number * _BLOCK, buffer, offset)
        return len(buffer)

    def _run_from(self, number: int, stop: int) -> range:
        """A block that is kept, or those up to `stop` that one request has to read."""
        end = number + 1
        if number not in self._blocks:
            while end < stop and end not in self._blocks and end not in self._under_way:
                end += 1
        return range(number, end)

    async def _request(self, run: range) -> bytes:
        import trio

        arrived = trio.Event()
        self._under_way.update(dict.fromkeys(run, arrived))
        try:
            start, end = run.start * _BLOCK, min(run.stop * _BLOCK, self.size)
            data = await trio.to_thread.run_sync(
                self._remote.read, start, end, abandon_on_cancel=True, limiter=self._request_limiter()
            )
        finally:
            for number in run:
                del self._under_way[number]
            arrived.set()
        for number in run:
            self._keep(number, data[(number - run.start) * _BLOCK : (number - run.start + 1) * _BLOCK])
        return data

    def _request_limiter(self) -> Any:
        if self._limiter is None:
            import trio

            self._limiter = trio.CapacityLimiter(_PARALLEL_REQUESTS)
        return self._limiter

    def _kept(self, number: int) -> bytes:
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _keep(self, number: int, block: bytes) -> None:
        self._blocks[number] = block
        if len(self._blocks) > _KEPT_BLOCKS:
            self._blocks.popitem(last=False)


class BlockingFsspecSource:
    """The same for whoever cannot await: a read holds up the thread."""

    def __init__(self, url: str, patience: float = _PATIENCE) -> None:
        """SourceError as `FsspecSource.open`, also if that takes longer than `patience`, in seconds."""
        self.name: Final = url
        try:
            self._file_system, self._path, size = answered(lambda: _located(url), patience, url)
        except NoAnswer as error:
            raise SourceError(f"{url}: cannot be opened: {error}") from None
        self._one_at_a_time: Final = threading.Lock()
        if size is None:
            raise SourceError(f"{url}: its size cannot be found out, so that it cannot be read in ranges")
        self.size: Final = int(size)

    def read_into(self, offset: int, buffer: memoryview, /) -> int:
        data = self.read(offset, min(offset + len(buffer), self.size))
        buffer[: len(data)] = data
        return len(data)

    def read(self, start: int, end: int) -> bytes:
        """The bytes of [start, end). SourceError if they cannot be had. May be called in any thread."""
        if start >= end:
            return b""
        try:
            data = self._read_safely(start, end)
        # Whatever the library of a protocol raises.
        except Exception as error:
            raise _unreadable(f"{self.name}: {end - start} bytes at offset {start:#x}", error) from error
        if len(data) != end - start:
            raise SourceError(
                f"{self.name}: {end - start} bytes at offset {start:#x} were asked for, and {len(data)} came: "
                "the file has changed, or its server does not read ranges"
            )
        return data

    def close(self) -> None:
        """The file system is fsspec's, which keeps it."""

    def _read_safely(self, start: int, end: int) -> bytes:
        if self._file_system.async_impl:
            return bytes(self._file_system.cat_file(self._path, start=start, end=end))
        # File systems that are not made for asyncio need not be made for threads either.
        with self._one_at_a_time:
            return bytes(self._file_system.cat_file(self._path, start=start, end=end))


def range_reader(url: str) -> RangeReader:
    """Reads what `FsspecSource` reads, without waiting. SourceError as `FsspecSource.open`."""
    address, marked, digest = url.partition(DIGEST_MARK)
    if marked:
        manifest = range_reader(address + MANIFEST)
        try:
            if manifest.size > _LARGEST_MANIFEST:
                raise SourceError(f"{manifest.name}: has {manifest.size:,} bytes: a manifest may have {_LARGEST_MANIFEST:,}")
            digests = BlockDigests(address, manifest.read(0, manifest.size), digest)
        finally:
            manifest.close()
        return CheckedReader(range_reader(address), digests)
    if url.startswith(("http://", "https://")):
        from kev.pager.http_reader import HttpReader

        return HttpReader(url)
    return BlockingFsspecSource(url)


def _copy_common(data: bytes, data_offset: int, buffer: memoryview, buffer_offset: int) -> None:
    """Copies the bytes that both hold; the offsets say where each begins in the file."""
    start, end = max(data_offset, buffer_offset), min(data_offset + len(data), buffer_offset + len(buffer))
    buffer[start - buffer_offset : end - buffer_offset] = data[start - data_offset : end - data_offset]


def _located(url: str) -> tuple[Any, str, int | None]:
    """The file system that a URL speaks of, the path on it, and the size of what is there, if it can be found out. SourceError."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise SourceError(f"{url}: a URL needs fsspec: `pip install kev-hypervisor[fsspec]`") from error
    from kev.pager.http_files import by_http_reader

    _check_host_file(url)
    try:
        file_system, path = url_to_fs(by_http_reader(url))
        return file_system, str(path), file_system.size(path)
    except Exception as error:
        raise _unreadable(url, error) from error


def _check_host_file(url: str) -> None:
    """SourceError if a URL leads to something on the host that has no end, or that has to be waited for."""
    name = url.rpartition(_LINK)[2]
    for scheme in _SCHEMES_OF_HOST_FILES:
        name = name.removeprefix(scheme)
    try:
        mode = os.stat(name).st_mode
    except (OSError, ValueError):  # whoever opens it says what is wrong with it, if it is a file's name at all
        return
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode) or stat.S_ISDIR(mode)):
        raise SourceError(f"{url}: cannot be read: {name} is neither a regular file nor a block device")


def _unreadable(what: str, error: Exception) -> SourceError:
    name, text = type(error).__name__, str(error)
    is_a_name = isinstance(error, FileNotFoundError) and error.errno is None  # as fsspec has it of its own file systems
    return SourceError(f"{what}: cannot be read: {f'{name}: {text}' if is_a_name else text or name}")
