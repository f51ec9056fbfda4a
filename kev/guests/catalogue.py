"""The guests that come with kev: built from source when kev is installed, and packed into its root file system."""

import os
from collections.abc import Sequence
from typing import Any, Final

from kev.addressing import MIB
from kev.errors import KevError, nearest_of
from kev.named_tuple import NamedTuple
from kev.spec.machine_spec import MachineSpec

_DATA: Final = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data")

_ALIKE: Final = 0.75
"""Most of what is no guest is a file that is not there: for that, a guest's name that is alike to some degree says nothing."""
_SAME: Final = 1.0


_LISTS: Final = ("modules", "disk_files")
_NUMBERS: Final = ("exit_code", "memory_mib", "smp")


class GuestsMissing(KevError):
    """The root file system or the list of its guests is not there: kev was not installed by its build."""


class Guest(NamedTuple):
    """A guest on the root file system, and the machine it wants. The fields are the top-level keys of its guest.toml."""

    name: str
    """Its file's name on the root file system."""
    description: str
    """What it does, in a line."""
    boot: str
    """The boot protocol: the name of a module in `kev.boot`."""
    abi: str = ""
    """The guest ABI: the name of a module in `kev.abi`. Without it, that of the boot protocol."""
    exit_code: int | None = None
    """What `kev run` ends with. None for a guest that does not end by itself."""
    memory_mib: int = 256
    smp: int = 1
    """How many vCPUs."""
    command_line: str = ""
    modules: Sequence[str] = ()
    """Names of files on the root file system."""
    input: str = ""
    """What is typed on COM1, or on the keyboard, when nobody types: there is no standard input, or there is nothing in it."""
    disk: str = ""
    """The device that its disk is behind: the value of a `kev.machine.disks.DriveKind`. Without it, it has no disk."""
    disk_files: Sequence[str] = ()
    """Names of files on the root file system. The disk is an image of them, made anew for every run: see `kev.guests.disk`."""

    @property
    def spec(self) -> MachineSpec:
        """The machine it wants, but for modules and disks, which are no files of the host."""
        return MachineSpec(
            self.name,
            memory=self.memory_mib * MIB,
            vcpus=self.smp,
            boot=self.boot or None,
            abi=self.abi or None,
            command_line=self.command_line,
        )


def root_file_system() -> str:
    """The path of the SIMPLEFS image with the guests. GuestsMissing if it is not there."""
    return _data_file("rootfs.img")


def guests() -> tuple[Guest, ...]:
    """Every guest, by name. GuestsMissing if their list is not there."""
    return tuple(map(_guest, _described()))


def find_guest(name: str) -> Guest | None:
    """The guest of that name, or None: a root file system also holds files that are no guests. GuestsMissing."""
    return next((_guest(text) for text in _described() if text.partition("\n")[0] == f"name={name}"), None)


def guest_meant(name: str) -> Guest | None:
    """The guest that the name of an image stands for: a name that says where a file is, as in `./gKeOS`, is none's."""
    return find_guest(name) if os.sep not in name else None


def nearest_guest(name: str) -> str | None:
    """The name of the guest that may have been meant by the name of an image that is not there."""
    return nearest_of(os.path.basename(name), [guest.name for guest in guests()], _SAME if os.sep in name else _ALIKE)


def _described() -> list[str]:
    """What the list says of each guest."""
    with open(_data_file("guests.txt"), encoding="utf-8") as file:
        return file.read().split("\n\n")


def _guest(text: str) -> Guest:
    """Made of lines of the form key=value, of which a list has one for each of its members, and any other value a single one."""
    fields: dict[str, Any] = {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key in _LISTS:
            fields.setdefault(key, []).append(value)
        else:
            fields[key] = int(value) if key in _NUMBERS else value.replace("\\n", "\n")
    return Guest(**fields)


def _data_file(name: str) -> str:
    file = os.path.join(_DATA, name)
    if not os.path.isfile(file):
        raise GuestsMissing(f"{file} is missing: `pip install` of the kev source tree builds it")
    return file
