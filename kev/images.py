"""Where an image named on the command line is: a file of the host, or one on the root file system."""

import os
from pathlib import Path
from typing import Final

from kev.errors import KevError
from kev.guests import Guest, find_guest, root_file_system
from pager.source import FileSource, SynchronousSource

DEFAULT_IMAGE: Final = "gKeOS"


class ImageNotFound(KevError):
    """There is neither a file nor a guest of that name."""


def open_image(name: str) -> tuple[SynchronousSource, Guest | None]:
    """The bytes of an image, and the guest it is if it comes from the root file system.

    A file of the host is preferred to a guest of the same name only if `name` says where it is, as in `./gKeOS`.
    """
    if os.sep not in name:
        guest = find_guest(name)
        if guest is not None:
            return open_root_file(name), guest
    if Path(name).exists():
        return FileSource(name), None
    raise ImageNotFound(f"{name}: there is no such file, and no such guest on the root file system (`kev guests` lists them)")


def open_root_file(name: str) -> SynchronousSource:
    """A file on the root file system. SimpleFsError if there is none of that name."""
    from fs.disk import Disk
    from fs.simplefs import SimpleFs

    image = root_file_system()
    return SimpleFs(Disk(image.open("rb"), str(image))).open(name)
