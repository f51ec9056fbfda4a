"""Where an image named on the command line is: a file of the host, or one on the root file system."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from kev.errors import KevError
from kev.fs.disk import Disk
from kev.fs.simplefs import SimpleFs
from kev.guests.catalogue import Guest, guest_meant, nearest_guest, root_file_system
from kev.pager.source import AsynchronousSource, FileSource, SynchronousSource

if TYPE_CHECKING:
    from kev.pager.fsspec_source import FsspecSource

DEFAULT_IMAGE: Final = "gKeOS"


class ImageNotFound(KevError):
    """There is neither a file nor a guest of that name."""


@contextmanager
def open_image_or_url(name: str, retry: int | None = None) -> Iterator[tuple[SynchronousSource | AsynchronousSource, Guest | None]]:
    """As `open_image`; `name` may also be a URL that fsspec understands, such as `https://host/kernel`.

    `retry`: how often what is behind a URL is asked for again if it cannot be opened.
    """
    if "://" in name:
        with closing(_opened_url(name, retry)) as source:
            yield source, None
    else:
        with open_image(name) as found:
            yield found


@contextmanager
def open_image(name: str) -> Iterator[tuple[SynchronousSource, Guest | None]]:
    """The bytes of an image, and the guest it is if it comes from the root file system.

    A file of the host is preferred to a guest of the same name only if `name` says where it is, as in `./gKeOS`.
    """
    guest = guest_meant(name)
    if guest is not None:
        with open_root_file_system() as files:
            yield files.open(name), guest
    elif os.path.exists(name):
        with FileSource(name) as source:
            yield source, None
    else:
        raise ImageNotFound(f"{name}: there is no such file, and no such guest on the root file system{_hint(name)}")


def _opened_url(url: str, retry: int | None) -> "FsspecSource":
    from kev.pager.fsspec_source import FsspecSource
    from kev.pager.retrying_source import opened_after_all

    return opened_after_all(partial(FsspecSource.open, url), retry)


def _hint(name: str) -> str:
    nearest = nearest_guest(name)
    return " (`kev guests` lists them)" if nearest is None else f": is it {nearest!r}? (`kev guests` lists all)"


@contextmanager
def open_root_file_system() -> Iterator[SimpleFs]:
    """The files of the root file system."""
    image = root_file_system()
    with open(image, "rb") as file:
        yield SimpleFs(Disk(file, image))
