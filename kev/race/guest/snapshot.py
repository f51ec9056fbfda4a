"""Snapshots that runs begin with."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple, Self

from kev.machine.snapshots import SavedMachine, restored
from kev.pager.source import FileSource, is_snapshot
from kev.race.errors import RaceError
from kev.spec.machine_spec import MachineSpec

_ID: Final = 16
"""Bytes of a snapshot's id."""


class SnapshotReference(NamedTuple):
    """A snapshot, as tokens name it: `str` is its id and its file."""

    file: str
    id: str
    """In hexadecimal."""

    def __str__(self) -> str:
        return f"{self.id} {self.file}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """ValueError."""
        digits, _, file = text.partition(" ")
        if len(bytes.fromhex(digits)) != _ID or not file:
            raise ValueError(f"snapshot {text!r}: it must be an id of {2 * _ID} hexadecimal digits and a file")
        return cls(file, digits)


class OpenedSnapshot(NamedTuple):
    """A snapshot whose files are open."""

    spec: MachineSpec
    """What the machine was made as, from the files as they are now."""
    saved: SavedMachine
    reference: SnapshotReference


def is_snapshot_file(name: str) -> bool:
    """Whether `name` is a file of the host in which a machine was saved."""
    if not os.path.isfile(name):
        return False
    with FileSource(name) as source:
        return is_snapshot(source)


@contextmanager
def opened_snapshot(file: str, wanted: MachineSpec) -> Iterator[OpenedSnapshot]:
    """The machine in `file`, until the end of the block.

    SnapshotError if a file of it is not what it was, or if `wanted` has what the snapshot has differently; RaceError if it is no
    snapshot, if `wanted` names neither it nor its image, or if the machine has a disk that is no overlay.
    """
    with FileSource(file) as source:
        if not is_snapshot(source):
            raise RaceError(f"{file}: is no snapshot")
        # The schedule that was saved does not go on: with a seed another one begins.
        with restored(wanted.replace(seed=0), source, lambda part: part) as found:
            spec = found.spec.replace(seed=None)
            if not any(_is_same(wanted.image, image) for image in ("", file, spec.image)):
                raise RaceError(f"{file}: is a snapshot of {spec.image}, not of {wanted.image}")
            for disk in spec.disks:
                if disk.access != "overlay" or disk.writes:
                    raise RaceError(f"{file}: disk {disk.path}: runs that begin with a snapshot need disks with ,overlay")
            yield OpenedSnapshot(spec, found.saved, SnapshotReference(file, found.saved.memory.id.hex()))


def _is_same(one: str, other: str) -> bool:
    return one == other or (os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other))
