"""What a snapshot says of its machine: section `machine`."""

import os
from typing import Any, Final, NamedTuple, Self

from kev.snapshot.errors import SnapshotError
from kev.spec.errors import SpecError
from kev.spec.machine_spec import MachineSpec
from kev.state import FLAG, PART, TIME, Fields, Kind, State, StateError, bits, octets, optional, record, tuple_of

FREE: Final = ("paging", "source_latency", "seed", "timeout", "timeline")
"""The fields of a machine's description that a snapshot says nothing of: they are given anew."""

_TEXT: Final = Kind("a text", lambda value: type(value) is str, str, str)
_DIGEST: Final = octets(32)._replace(load=bytes)
_MOST_DIGITS: Final = 1000


class FileIdentity(NamedTuple):
    """A file that the machine is made from."""

    role: str
    """What it is to the machine: `image`, `module` or `disk`."""
    name: str
    """An absolute path, a URL, or the name of a file on the root file system."""
    packed: bool
    """It is on the root file system."""
    size: int
    """In bytes."""
    modified: int | None
    """When it was changed last, in nanoseconds since 1970; None if that says nothing."""
    digest: bytes | None
    """SHA-256: of all of it if it is `whole`, else of some of its bytes. None if it would have taken too long."""
    whole: bool


class ParentReference(NamedTuple):
    """The snapshot that another one is a difference to."""

    file: str
    """Relative to the other's folder; or a URL."""
    id: bytes


_FILE: Final = record(FileIdentity, _TEXT, _TEXT, FLAG, bits(64), optional(TIME), optional(_DIGEST), FLAG)
_PARENT: Final = record(ParentReference, _TEXT, octets(16)._replace(load=bytes))
_RANGE: Final = record(range, bits(64), bits(64), values=lambda region: (region.start, region.stop))


class Description(NamedTuple):
    """All but its state and its memory."""

    kev: str
    """The version of kev that has written it."""
    spec: MachineSpec
    """What the machine was made as, without the `FREE` fields."""
    seed: int | None
    boot_time: int
    """What the real-time clock showed when the machine was switched on, in seconds since 1970."""
    time: int
    """Nanoseconds of guest time since then."""
    instructions: int
    """That all vCPUs have retired, where they were counted."""
    ram: tuple[range, ...]
    """Guest-physical addresses."""
    files: tuple[FileIdentity, ...]
    parent: ParentReference | None

    def save(self) -> State:
        return _FIELDS.save(
            self._replace(spec=self.spec.to_dict(), seed=None if self.seed is None else str(self.seed))  # type: ignore[arg-type]
        )

    @classmethod
    def load(cls, state: State, name: str) -> Self:
        """What `save` has made. SnapshotError, naming the file, if it is anything else."""
        loaded = _Loaded()
        try:
            _FIELDS.load(loaded, name, state)
            spec = MachineSpec.of(loaded.spec)
        except (StateError, SpecError) as error:
            raise SnapshotError(f"{name}: section 'machine' describes no machine: {error}") from error
        seed = None if loaded.seed is None else int(loaded.seed)
        fields = {field: getattr(loaded, field) for field in cls._fields}
        return cls(**fields | {"spec": spec, "seed": seed})

    def combined(self, wanted: MachineSpec, name: str) -> MachineSpec:
        """The machine that goes on, as `wanted` has it. SnapshotError if that wants what the snapshot fixes to be different."""
        for field, value in wanted.given().items():
            fixed = getattr(self.spec, field)
            if field not in (*FREE, "image") and value != fixed:
                saved, asked = _shown(field, fixed), _shown(field, value)
                raise SnapshotError(f"{name}: {field} is {saved} in the snapshot, and stays so: it cannot be {asked}")
        return wanted.over(self.spec)._replace(image=self.spec.image, seed=self.seed if wanted.seed is None else wanted.seed)


class _Loaded:
    """The fields of a description, as they are written."""

    spec: dict[str, Any]
    seed: str | None


def _is_number(value: Any) -> bool:
    return type(value) is str and value.removeprefix("-").isdecimal() and value.isascii() and len(value) < _MOST_DIGITS


_NUMBER: Final = Kind("a whole number, as a text", _is_number, str, str)
_FIELDS: Final = Fields(
    {
        "kev": _TEXT,
        "spec": PART,
        "seed": optional(_NUMBER),
        "boot_time": TIME,
        "time": TIME,
        "instructions": TIME,
        "ram": tuple_of(_RANGE),
        "files": tuple_of(_FILE),
        "parent": optional(_PARENT),
    }
)


def _shown(field: str, value: Any) -> str:
    if field == "memory":
        from kev.spec.sizes import size_text

        return size_text(value)
    return repr(tuple(map(str, value)) if isinstance(value, tuple) else value)


def located(reference: str, file: str) -> str:
    """The file that `reference` means in a snapshot `file`: a URL, a path, or a path relative to its folder."""
    if "://" in reference or os.path.isabs(reference):
        return reference
    if "://" in file:
        return f"{file.rpartition('/')[0]}/{reference}"
    return os.path.join(os.path.dirname(file), reference)
