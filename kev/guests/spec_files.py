"""Files that describe machines."""

import os
from typing import Final

from kev.addressing import KIB
from kev.guests.catalogue import guest_meant
from kev.spec.errors import SpecError
from kev.spec.machine_spec import MachineSpec
from kev.user_files import read_user_file

LARGEST_FILE: Final = 256 * KIB
"""In bytes."""


def read_spec(file: str | os.PathLike[str], *, waits: bool = False) -> MachineSpec:
    """The machine that a TOML file describes. Relative names of files in it are relative to its folder.

    `waits` as for `read_user_file`: what comes through a pipe is in the working directory. SpecError if it describes none, or is
    larger than `LARGEST_FILE`.
    """
    name = os.fspath(file)
    try:
        text = read_user_file(name, LARGEST_FILE, SpecError, waits=waits).decode()
    except UnicodeDecodeError as error:
        raise SpecError(f"{name}: is not TOML, which is Unicode in UTF-8: {error.reason} at byte {error.start}") from None
    folder = os.path.dirname(name) if os.path.isfile(name) else ""
    return MachineSpec.from_toml(text, name).in_folder(folder, is_guest)


def is_guest(image: str) -> bool:
    """Whether the name of an image is that of a guest on the root file system."""
    return guest_meant(image) is not None


def resolved(spec: MachineSpec) -> MachineSpec:
    """With what the guest wants, if the image is one of the root file system, and with the defaults."""
    guest = guest_meant(spec.image)
    return spec.resolved(None if guest is None else guest.spec)
