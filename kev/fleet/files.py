"""Files on their way to workers.

A file is known by the digest of its manifest (`kev.pager.checked_reader`). It is either put into a store, which is a folder that
all workers see or a URL that fsspec writes, or its contents go with the work, through the scheduler.
"""

import os
import posixpath
import uuid
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pickle import PickleBuffer
from typing import Any, Final, NamedTuple

from kev.addressing import MIB
from kev.fleet.errors import FleetError
from kev.pager.checked_reader import BLOCK, manifest_of
from kev.pager.fsspec_source import DIGEST_MARK, MANIFEST
from kev.pager.kernel import trio_rendezvous
from kev.pager.source import FileSource, is_snapshot, read_bytes
from kev.snapshot.description import Description
from kev.snapshot.reader import SnapshotFile

LARGEST_SENT: Final = 256 * MIB
"""Bytes of a file that goes through the scheduler, which keeps all of them in its memory."""
PART: Final = 4 * MIB
"""Bytes of a file that are sent at a time."""


class Shipped(NamedTuple):
    """A file, as a worker is told of it."""

    name: str
    """What it is called where it comes from."""
    size: int
    modified: int
    """When it was changed last, in nanoseconds since 1970."""
    manifest: bytes
    store: str
    """The URL of the store that it is in; empty if it comes in parts."""
    parts: tuple[Any, ...]
    """Its bytes: `PickleBuffer` where it is sent, bytes where it arrives."""
    beside: "tuple[Shipped, ...]" = ()
    """What a snapshot needs besides itself."""

    @property
    def digest(self) -> str:
        """In hexadecimal."""
        return sha256(self.manifest).hexdigest()

    @property
    def url(self) -> str:
        """Where it is read, page by page and checked; empty if it is not in a store, or is not all that is needed."""
        return "" if self.beside or not self.store else f"{self.store}/{self.digest}{DIGEST_MARK}{self.digest}"


class Shipper:
    """Makes files ready to be sent; each once, unless it has changed since."""

    def __init__(self, store: str = "") -> None:
        """`store` is a folder, or a URL. FleetError if fsspec does not know it."""
        self._store: Final = _Store(store) if store else None
        self._shipped: Final[dict[tuple[str, int, int], Shipped]] = {}

    def ship(self, name: str) -> Shipped:
        """FleetError, SourceError, SnapshotError if that is not possible."""
        with FileSource(name) as file:
            key = os.path.abspath(name), file.size, file.modified
            if key not in self._shipped:
                beside = tuple(map(self.ship, _needed(file))) if is_snapshot(file) else ()
                self._shipped[key] = self._made_ready(file, file.modified)._replace(beside=beside)
            return self._shipped[key]

    def _made_ready(self, file: FileSource, modified: int) -> Shipped:
        manifest = manifest_of(read_bytes(file, start, min(BLOCK, file.size - start)) for start in range(0, file.size, BLOCK))
        if self._store is not None:
            self._store.put(file.name, sha256(manifest).hexdigest(), manifest)
            return Shipped(file.name, file.size, modified, manifest, self._store.url, ())
        if file.size > LARGEST_SENT:
            raise FleetError(
                f"{file.name}: has {file.size:,} bytes: what goes through the scheduler may have {LARGEST_SENT:,}; "
                "for more, name a folder that all workers see, or a URL: --store"
            )
        parts = tuple(PickleBuffer(read_bytes(file, start, min(PART, file.size - start))) for start in range(0, file.size, PART))
        return Shipped(file.name, file.size, modified, manifest, "", parts)


class _Store:
    """Files by their digests, with their manifests beside them. Who writes the same file at the same time writes the same bytes."""

    def __init__(self, place: str) -> None:
        from fsspec.core import url_to_fs

        self.url: Final = place.rstrip("/") if "://" in place else f"file://{os.path.abspath(place)}"
        try:
            self._files, self._root = url_to_fs(self.url)
            self._files.makedirs(self._root, exist_ok=True)
        except Exception as error:
            raise FleetError(f"--store: {place}: cannot be used: {str(error) or type(error).__name__}") from error

    def put(self, name: str, digest: str, manifest: bytes) -> None:
        """Only the manifest says that a file is there."""
        path = posixpath.join(self._root, digest)
        try:
            if self._files.exists(path + MANIFEST):
                return
            own = f"{path}.{uuid.uuid4().hex}.part"
            self._files.put_file(name, own)
            self._files.mv(own, path)
            self._files.pipe_file(own, manifest)
            self._files.mv(own, path + MANIFEST)
        # Whatever the library of a protocol raises.
        except Exception as error:
            raise FleetError(f"--store: {self.url}: {name} cannot be put there: {str(error) or type(error).__name__}") from error


def _needed(snapshot: FileSource) -> Iterator[str]:
    """The files of the host that the machine in a snapshot is made from."""
    description = Description.load(SnapshotFile(snapshot, trio_rendezvous).machine(), snapshot.name)
    if description.parent is not None:
        raise FleetError(f"{snapshot.name}: is a difference to another snapshot: only a whole one can be sent to other computers")
    for identity in description.files:
        if not identity.packed and "://" not in identity.name:
            beside = os.path.join(os.path.dirname(snapshot.name), os.path.basename(identity.name))
            yield identity.name if os.path.exists(identity.name) else beside


class Arrivals:
    """Files that have come to a worker. They lie in folders by their digests, and are checked once by each process."""

    def __init__(self, folder: str) -> None:
        self._folder: Final = folder
        self._there: Final[set[str]] = set()

    def file(self, shipped: Shipped) -> str:
        """A file of this computer with the contents of `shipped`. SourceError if they are not to be had."""
        path = self._fetched(shipped, os.path.join(self._folder, shipped.digest))
        for other in shipped.beside:
            self._fetched(other, os.path.dirname(path))
        return path

    def _fetched(self, shipped: Shipped, folder: str) -> str:
        from kev.pager.checked_reader import BlockDigests

        path = os.path.join(folder, os.path.basename(shipped.name))
        if path in self._there:
            return path
        digests = BlockDigests(shipped.name, shipped.manifest, shipped.digest)
        os.makedirs(folder, exist_ok=True)
        own = f"{path}.{os.getpid()}.part"
        with open(own, "wb") as file:
            for number, block in enumerate(_blocks(shipped)):
                digests.check(number, block)
                file.write(block)
        os.utime(own, ns=(shipped.modified, shipped.modified))
        os.replace(own, path)
        self._there.add(path)
        return path


def _blocks(shipped: Shipped) -> Iterator[bytes | memoryview]:
    if not shipped.store:
        for part in shipped.parts:
            view = memoryview(part)
            yield from (view[start : start + BLOCK] for start in range(0, len(view), BLOCK))
        return
    from kev.pager.fsspec_source import range_reader

    reader = range_reader(f"{shipped.store}/{shipped.digest}{DIGEST_MARK}{shipped.digest}")
    try:
        for start in range(0, shipped.size, PART):
            data = memoryview(reader.read(start, min(start + PART, shipped.size)))
            yield from (data[offset : offset + BLOCK] for offset in range(0, len(data), BLOCK))
    finally:
        reader.close()


@cache
def arrivals(folder: str) -> Arrivals:
    """Those of this process in `folder`."""
    return Arrivals(folder)
