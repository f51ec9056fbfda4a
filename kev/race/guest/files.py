"""A guest's image and modules, read once for all its runs."""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple
from zlib import crc32

from kev.boot.base import BootOptions, Module
from kev.guests.catalogue import UNKNOWN, Guest
from kev.guests.images import open_image, open_root_file_system
from kev.pager.source import FileSource, SynchronousSource, read_exactly
from kev.race.guest.configuration import Configuration
from kev.race.guest.source import MemorySource


class GuestFiles(NamedTuple):
    """All that a guest is launched from."""

    guest: Guest
    image: MemorySource
    boot: BootOptions
    checksum: int
    """CRC-32 of the image and the modules, one after the other."""


def guest_called(image: str) -> Guest:
    """A guest of the root file system; for other images, one that says nothing about its machine. ImageNotFound."""
    with open_image(image) as (_, guest):
        return guest or UNKNOWN


@cache
def read_files(configuration: Configuration) -> GuestFiles:
    """The image and the modules. ImageNotFound, SourceError."""
    with open_image(configuration.image) as (source, guest):
        image = _in_memory(source)
    modules = tuple(_read_modules(configuration, guest or UNKNOWN))
    checksum = crc32(image.data)
    for _, contents, _ in modules:
        checksum = crc32(contents.data, checksum)
    boot = BootOptions(configuration.command_line, tuple(Module(*module) for module in modules))
    return GuestFiles(guest or UNKNOWN, image, boot, checksum)


def _read_modules(configuration: Configuration, guest: Guest) -> Iterator[tuple[str, MemorySource, str]]:
    for name, text in configuration.modules:
        with FileSource(name) as file:
            yield name, _in_memory(file), text
    if guest.modules and not configuration.modules:
        with open_root_file_system() as files:
            for name in guest.modules:
                yield name, _in_memory(files.open(name)), ""


def _in_memory(source: SynchronousSource) -> MemorySource:
    data = bytearray(source.size)
    read_exactly(source, 0, memoryview(data))
    return MemorySource(source.name, bytes(data))
