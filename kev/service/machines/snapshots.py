"""The snapshots of a service: files with names, and files that machines go on from."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from kev.errors import KevError
from kev.service.errors import Conflict, LimitReached, NotThere, StorageFull
from kev.service.home import Home
from kev.service.machines.state_directory import StateDirectory, full_disk, read_record, records, remove, write_record
from kev.spec.sizes import size_text
from kev.user_json import integer, record, text

_SHAPE: Final = record(
    {"name": text, "file": text, "machine": text, "machine_name": text, "created": text, "size": integer(), "spec": record({})}
)


@attrs.frozen
class Snapshot:
    """A snapshot that a client has asked for."""

    name: str
    file: Path
    machine: str
    """The id of the machine that was saved."""
    machine_name: str
    created: str
    size: int
    """Bytes."""
    spec: dict[str, Any]
    """Of the machine, as it was asked for."""

    def describe(self) -> dict[str, Any]:
        """As clients see it."""
        return {name: value for name, value in attrs.asdict(self).items() if name != "file"}


class SnapshotStore:
    """Files in the state directory. One is kept for as long as it has a name, or a machine reads its pages from it."""

    def __init__(self, directory: StateDirectory, most: int) -> None:
        """`most` bytes for all of them."""
        self._directory: Final = directory
        self._most: Final = most
        self._snapshots: Final[dict[str, Snapshot]] = {}
        self._being_written: Final[set[str]] = set()
        self._readers: Final[Counter[Path]] = Counter()
        for file in records(directory.snapshots):
            data = read_record(file, _SHAPE)
            snapshot = Snapshot(**data | {"file": directory.files / os.path.basename(data["file"])})
            if snapshot.file.is_file():
                self._snapshots[snapshot.name] = snapshot
            else:
                remove(file)
        self._remove_unnamed()

    def _remove_unnamed(self) -> None:
        """No machine reads anything, yet."""
        named = {snapshot.file for snapshot in self._snapshots.values()}
        remove(*(file for file in self._directory.files.iterdir() if file not in named))

    def __iter__(self) -> Iterator[Snapshot]:
        return iter(self._snapshots.values())

    def __getitem__(self, name: str) -> Snapshot:
        """NotThere if there is none of that name."""
        snapshot = self._snapshots.get(name)
        if snapshot is None:
            raise NotThere(f"snapshot: {name!r}: there is none of that name", field="snapshot", value=name)
        return snapshot

    @property
    def size(self) -> int:
        """Bytes of all snapshots that have names."""
        return sum(snapshot.size for snapshot in self._snapshots.values())

    def new_file(self) -> Path:
        """For a snapshot that nobody else writes."""
        return self._directory.files / f"{os.urandom(8).hex()}.kevsnap"

    async def write(self, home: Home, file: Path, *, compress: bool = False) -> int:
        """The size of the snapshot, which is written to `file`. StorageFull; LimitReached if there would be too much of them."""
        self._check_room(0)
        try:
            await home.snapshot(file, compress=compress)
        except KevError as error:
            if full_disk(error):
                raise StorageFull(str(error)) from error
            raise
        try:
            size = os.stat(file).st_size
            self._check_room(size)
        except BaseException:
            remove(file)
            raise
        return size

    def _check_room(self, size: int) -> None:
        if self.size + size > self._most or self.size == self._most:
            used, most = size_text(self.size), size_text(self._most)
            problem = f"all that there are may have {most} together: delete one"
            raise LimitReached(f"snapshots: {used} and {size:,} bytes more: {problem}", field="snapshots", value=used, limit=most)

    @contextmanager
    def naming(self, name: str) -> Iterator[None]:
        """Nobody else gives a snapshot this name meanwhile. Conflict if it is taken."""
        if name in self._snapshots or name in self._being_written:
            raise Conflict(f"name: {name!r}: a snapshot is called so already", field="name", value=name)
        self._being_written.add(name)
        try:
            yield
        finally:
            self._being_written.discard(name)

    async def add(self, snapshot: Snapshot) -> None:
        """It has its name from now on, and keeps it if the service ends. StorageFull."""
        data = attrs.asdict(snapshot) | {"file": snapshot.file.name}
        await trio.to_thread.run_sync(write_record, self._record(snapshot.name), data)
        self._snapshots[snapshot.name] = snapshot

    async def delete(self, name: str) -> None:
        """NotThere. Machines that go on from it keep its file."""
        snapshot = self[name]
        del self._snapshots[name]
        await trio.to_thread.run_sync(remove, self._record(name))
        self._remove_unread(snapshot.file)

    def hold(self, file: Path) -> None:
        """A machine reads its pages from it, until `release`."""
        self._readers[file] += 1

    def release(self, file: Path) -> None:
        self._readers[file] -= 1
        self._remove_unread(file)

    def _remove_unread(self, file: Path) -> None:
        if self._readers[file] <= 0:
            del self._readers[file]
            if all(snapshot.file != file for snapshot in self._snapshots.values()):
                remove(file)

    def _record(self, name: str) -> Path:
        return self._directory.snapshots / f"{name}.json"
