"""What a token says about the machine that a guest is raced on.

It is words as a shell has them, `NAME=VALUE`: `smp`, `memory` in bytes, `exit` for the exit code that is right, and `crc` for the
CRC-32 of the image and the modules; `costs` for the version of the table that says what exits take, without which they take
nothing; `random` for what RDRAND draws from, if it is not 0; `snapshot` for the id and the file of the snapshot that runs go on
from, `after` for the condition that is met before they begin, and `model` for the memory model if it is not `sc`; and, where they
differ from what the guest gets by itself,
`boot`, `abi`, `append` for the command line, `module` and `disk` as `kev.spec.files` writes them, the CRC-32 of every disk in
front, and every other field that a raced machine can have. There are no other words, and but for `module` and `disk` each is there
once.
"""

import shlex
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, Self

from kev.machine.conditions import ConditionError, condition
from kev.machine.exit_costs import CURRENT
from kev.race.errors import RaceError, TokenError
from kev.race.guest.snapshot import SnapshotReference
from kev.race.memory_model import MemoryModel
from kev.spec.errors import SpecError
from kev.spec.fields import FIELDS, Arity, Field
from kev.spec.machine_spec import DEFAULTS, MachineSpec

_REQUIRED: Final = ("smp", "memory", "exit", "crc")
_COSTS: Final = "costs"
_RANDOM: Final = "random"
_SNAPSHOT: Final = "snapshot"
_AFTER: Final = "after"
_MODEL: Final = "model"
_REPEATED: Final = ("module", "disk")
REFUSED: Final = {
    "firmware": "a token does not say what is in a ROM",
    "boot_sector": "a token does not say what is in it",
    "paging": "pages come one by one, when the schedule lets them",
    "source_latency": "a page takes as long as the schedule says",
    "seed": "the schedule is chosen by the strategy, which has a seed of its own",
    "timeout": "a run without an end is found by its number of instructions; --runs says how many runs there are",
    "max_pages": "a run ends when its number of instructions says that it has no end",
    "max_output": "a run ends when its number of instructions says that it has no end",
    "retry": "no load fails",
    "keyboard": "nobody types",
    "timeline": "a failure is told step by step instead",
}
"""Fields of a description that say nothing about a raced machine, and why."""
_SAID_APART: Final = ("vcpus", "memory", "modules", "disks")


def _key(field: Field) -> str:
    return field.option.removeprefix("--").replace("-", "_")


_OPTIONAL: Final = {_key(field): field for field in FIELDS if field.name not in REFUSED and field.name not in _SAID_APART}
"""All others, by their word."""


class RaceDetails(NamedTuple):
    """What is raced, apart from the schedule."""

    spec: MachineSpec
    exit_code: int
    """What the guest should end with."""
    checksum: int
    """CRC-32 of what is loaded of the image, and of its modules."""
    disks: tuple[int, ...] = ()
    """CRC-32 of every disk that the description names."""
    exit_costs: int = CURRENT
    """Which of `kev.machine.exit_costs.EXIT_COSTS` says what exits take."""
    random_seed: int = 0
    """What RDRAND and RDSEED draw from."""
    snapshot: SnapshotReference | None = None
    """What runs go on from; it says itself what `spec` is."""
    after: str = ""
    """The condition that is met before runs begin."""
    model: MemoryModel = MemoryModel.SC
    """When others see what a vCPU stores."""

    def __str__(self) -> str:
        return shlex.join(self._words())

    @classmethod
    def parse(cls, image: str, details: str) -> Self:
        """What `details` was made from. TokenError."""
        try:
            words = [word.partition("=") for word in _split(details)]
            values = {key: value for key, _, value in words}
            _check_words([key for key, _, _ in words])
            disks = [value.partition(" ") for key, _, value in words if key == "disk"]
            wishes: dict[str, Any] = {
                key: values[key] == "1" if field.arity is Arity.FLAG else values[key]
                for key, field in _OPTIONAL.items()
                if key in values
            }
            wishes["modules"] = [value for key, _, value in words if key == "module"]
            wishes["disks"] = [disk for _, _, disk in disks]
            vcpus, memory, exit_code = (int(values[key]) for key in _REQUIRED[:3])
            spec = MachineSpec(image, smp=vcpus, memory=memory, **wishes).over(MachineSpec(command_line=""))
            checksums = tuple(int(crc, 16) for crc, _, _ in disks)
            costs, random = (int(values.get(key, "0")) for key in (_COSTS, _RANDOM))
            if not 0 <= costs <= CURRENT:
                raise ValueError(
                    f"what exits take is in table {costs}, which a later version of kev has: this one has 0 to {CURRENT}"
                )
            snapshot = SnapshotReference.parse(values[_SNAPSHOT]) if _SNAPSHOT in values else None
            after = str(condition(values[_AFTER])) if _AFTER in values else ""
            model = MemoryModel(values.get(_MODEL, MemoryModel.SC.value))
            return cls(spec, exit_code, int(values["crc"], 16), checksums, costs, random, snapshot, after, model)
        except (KeyError, ValueError, SpecError, ConditionError) as error:
            raise TokenError(f"guest {image}: a token does not describe a machine by {details!r}: {error}") from error

    def _words(self) -> Iterator[str]:
        spec = self.spec
        yield f"smp={spec.vcpus}"
        yield f"memory={spec.memory}"
        yield f"exit={self.exit_code}"
        yield f"crc={self.checksum:08x}"
        if self.exit_costs:
            yield f"{_COSTS}={self.exit_costs}"
        if self.random_seed:
            yield f"{_RANDOM}={self.random_seed}"
        if self.snapshot is not None:
            yield f"{_SNAPSHOT}={self.snapshot}"
        if self.after:
            yield f"{_AFTER}={self.after}"
        if self.model is not MemoryModel.SC:
            yield f"{_MODEL}={self.model.value}"
        for key, field in _OPTIONAL.items():
            value = getattr(spec, field.name)
            if value not in (None, getattr(DEFAULTS, field.name)):
                yield f"{key}={1 if value is True else field.text(value)}"
        for module in spec.modules:
            yield f"module={module}"
        for checksum, disk in zip(self.disks, spec.disks, strict=True):
            yield f"disk={checksum:08x} {disk}"


def _check_words(keys: list[str]) -> None:
    """ValueError for a word that there is not, and for one that is there twice."""
    for key in keys:
        if key not in _REQUIRED and key not in _OPTIONAL and key not in (_COSTS, _RANDOM, _SNAPSHOT, _AFTER, _MODEL, *_REPEATED):
            raise ValueError(f"this version of kev knows no {key!r}")
        if key not in _REPEATED and keys.count(key) > 1:
            raise ValueError(f"{key!r} is there {keys.count(key)} times")


def _split(details: str) -> list[str]:
    """As a shell does, which takes long, and most details quote nothing."""
    return shlex.split(details) if any(map(details.__contains__, "'\"\\#")) else details.split()


def raceable(spec: MachineSpec) -> MachineSpec:
    """`spec`, if it asks for nothing that a raced machine has not. RaceError."""
    for name, value in spec.given().items():
        if name in REFUSED and value != getattr(DEFAULTS, name):
            raise RaceError(f"{name}: {value!r}: not in a race: {REFUSED[name]}")
    return spec
