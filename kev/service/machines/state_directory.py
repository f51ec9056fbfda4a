"""Where a service keeps what outlives it: records of machines, and snapshots.

    lock                    held while a service uses the directory
    machines/ID.json        what is known of a machine, by `kev.service.machines.record`
    machines/ID.kevsnap     the machine as it was when the service ended
    machines/ID.console     the end of what it had printed
    machines/ID.documents   report, pages and picture of a run that is over, by `kev.service.machines.keeping`
    snapshots/NAME.json     a snapshot that a client has asked for: which file it is, and of what
    parked/                 machines that are paused and that nobody needs, while a service runs (`kev.service.parking`)
    races/                  what race jobs have found (`kev.race.store`)
    jobs/ID-*/              where a job writes while it is under way
    files/*.kevsnap         the snapshots' files, and those that forks go on from

Everything is written beside its name, and there as a whole or not at all.
"""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from kev.errors import KevError
from kev.service.errors import ServiceError, StorageFull
from kev.user_files import read_user_file, synchronize_folder
from kev.user_json import Shape, read_user_json

_LARGEST_RECORD: Final = 1 << 20
_LARGEST_CONSOLE: Final = 1 << 30
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class StateError(ServiceError):
    """The state directory cannot be used, or what is in it is not what this service has written. Names the file."""


class MachineFiles(NamedTuple):
    """The files of one machine."""

    record: Path
    snapshot: Path
    console: Path
    documents: Path


class StateDirectory:
    """The directory, which is one service's while that runs."""

    def __init__(self, path: Path) -> None:
        """StateError if it cannot be written, or if another service uses it."""
        self.path: Final = path.absolute()
        self.machines: Final = self.path / "machines"
        self.snapshots: Final = self.path / "snapshots"
        self.files: Final = self.path / "files"
        self.parked: Final = self.path / "parked"
        self.races: Final = self.path / "races"
        self.jobs: Final = self.path / "jobs"
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            for folder in (self.machines, self.snapshots, self.files, self.parked, self.races, self.jobs):
                folder.mkdir(exist_ok=True, mode=0o700)
            self._lock: Final = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(f"--state-dir: {self.path}: cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise StateError(f"--state-dir: {self.path}: another `kev serve` uses it") from error
        self._clean()

    def close(self) -> None:
        os.close(self._lock)

    def files_of(self, id: str) -> MachineFiles:
        """Where the machine with this id is written down."""
        return MachineFiles(*(self.machines / f"{id}{ending}" for ending in (".json", ".kevsnap", ".console", ".documents")))

    def _clean(self) -> None:
        """Nothing half-written is left of a service that was killed."""
        for folder in (self.machines, self.snapshots, self.files):
            for draft in folder.glob(".*"):
                draft.unlink(missing_ok=True)
        for parked in self.parked.iterdir():
            parked.unlink(missing_ok=True)
        for left in self.jobs.iterdir():
            shutil.rmtree(left, ignore_errors=True)


def write_record(file: Path, record: dict[str, Any], *, lasting: bool = True) -> None:
    """Writes `record`. Where it is `lasting`, it is on the disk when this returns, and otherwise as soon as the system brings it
    there: the end of the service changes nothing about that, only that of the host does. StorageFull; StateError if it cannot be
    written otherwise.
    """
    write_file(file, json.dumps(record, separators=(",", ":")).encode(), lasting=lasting)


def write_file(file: Path, data: bytes, *, lasting: bool = True) -> None:
    """As `write_record`, of bytes."""
    draft = file.with_name(f".{file.name}.{os.urandom(4).hex()}")
    try:
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as out:
                out.write(data)
                out.flush()
                if lasting:
                    os.fsync(descriptor)
            os.replace(draft, file)
            if lasting:
                synchronize_folder(file.parent)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _failure(file, error) from error


def remove(*files: Path) -> None:
    """Removes what is there of them."""
    for file in files:
        with suppress(OSError):
            file.unlink(missing_ok=True)


def read_record(file: Path, shape: Shape) -> Any:
    """StateError if it is no record of this shape."""
    return read_user_json(file, _LARGEST_RECORD, StateError, "a record of this service", shape)


def read_file(file: Path) -> bytes:
    return read_user_file(file, _LARGEST_CONSOLE, StateError)


def records(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.glob("*.json"))


def full_disk(error: KevError) -> bool:
    """Whether it was raised because there was no room left: also one from another process, of which only the text has come."""
    return isinstance(error, StorageFull) or any(os.strerror(code) in str(error) for code in _FULL)


def _failure(file: Path, error: OSError) -> ServiceError:
    kind = StorageFull if error.errno in _FULL else StateError
    return kind(f"{file}: cannot be written: {error.strerror}")
