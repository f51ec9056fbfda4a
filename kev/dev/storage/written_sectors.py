"""What was written to disks that are kept in memory, as plain data."""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol, TypeGuard

from kev.dev.block_device import SECTOR_SIZE, BlockBackend
from kev.state import BYTES, PART, Fields, State, StateError, bits, check_count, listed, optional

_SECTORS: Final = Fields({}, sectors=listed(bits(64)), contents=listed(BYTES))
_DISKS: Final = Fields({}, disks=listed(optional(PART)))


class KeptInMemory(Protocol):
    """A disk whose contents go with the machine. What lies beneath them stays as it is, and is not saved."""

    def reset(self) -> None:
        """What was written is gone."""

    def save(self) -> State: ...

    def load(self, called: str, state: State) -> None:
        """It is `called` so in errors. StateError if that is no state of a disk of this size."""


class DiskContents:
    """A `Device` without addresses: the contents of all disks of a machine, as far as they are `KeptInMemory`."""

    name: Final = "disks"

    __slots__ = ("_disks",)

    def __init__(self, disks: Sequence[BlockBackend | None]) -> None:
        self._disks: Final = [disk if is_kept_in_memory(disk) else None for disk in disks]

    def reset(self) -> None:
        for disk in self._disks:
            if disk is not None:
                disk.reset()

    def save(self) -> State:
        return _DISKS.save(self, disks=[None if disk is None else disk.save() for disk in self._disks])

    def load(self, state: State) -> None:
        states = _DISKS.load(self, self.name, state)["disks"]
        check_count(self.name, "disks", states, len(self._disks))
        for number, (disk, saved) in enumerate(zip(self._disks, states, strict=True)):
            if (disk is None) is not (saved is None):
                raise StateError(self.name, f"disk {number}", saved, "there if the disk is kept in memory, and only then")
            if disk is not None:
                disk.load(f"disk {number}", saved)


def save_sectors(written: Mapping[int, bytes | bytearray]) -> State:
    """`written`: contents of whole sectors, by number."""
    return _SECTORS.save(None, sectors=list(written), contents=list(written.values()))


def load_sectors(called: str, state: State, size: int) -> dict[int, bytearray]:
    """What `save_sectors` has saved of a disk of `size` bytes. StateError, with the name of the disk, if it cannot be that."""
    parts = _SECTORS.load(None, called, state)
    sectors, contents = parts["sectors"], parts["contents"]
    if len(sectors) != len(contents) or any(sector * SECTOR_SIZE >= size for sector in sectors):
        raise StateError(called, "sectors", sectors, f"{len(contents)} numbers of sectors of {size} bytes")
    if any(len(content) != SECTOR_SIZE for content in contents):
        raise StateError(called, "contents", contents, f"{SECTOR_SIZE} bytes each")
    return dict(zip(sectors, contents, strict=True))


def is_kept_in_memory(disk: object) -> TypeGuard[KeptInMemory]:
    return hasattr(disk, "save")
