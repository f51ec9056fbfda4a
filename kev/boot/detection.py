"""Finds out which boot protocol an image is made for."""

from collections.abc import Iterator
from importlib import import_module
from typing import Final

from kev.boot.base import BootError, BootProtocol
from kev.boot.kernel_file import KernelFile
from pager.source import SynchronousSource

PROTOCOLS: Final = {
    "keos": "Keos",
    "multiboot2": "Multiboot2",
    "multiboot1": "Multiboot1",
    "pvh": "Pvh",
    "real_mode": "RealMode",
}
"""The names of all boot protocols and of the classes in their modules, in the order in which images are tried."""
_FOR_ANY_ELF: Final = "keos"


def open_kernel(source: SynchronousSource, protocol: str | None = None) -> BootProtocol:
    """The image in `source` as the protocol of this name understands it, or else the first one that it is made for.

    An ELF image that no protocol claims is entered as KeOS is. BootError if nothing fits; ImageError if the image is damaged.
    """
    file = KernelFile(source)
    return (protocol_named(protocol) if protocol is not None else detect(file)).open(file)


def detect(file: KernelFile) -> type[BootProtocol]:
    """The protocol that an image is made for. BootError if it is made for none."""
    for protocol in _protocols():
        if protocol.detect(file):
            return protocol
    if file.is_elf:
        return protocol_named(_FOR_ANY_ELF)
    raise BootError(f"{file.name}: neither an ELF file, nor a file with a Multiboot header, nor a boot sector: cannot be booted")


def protocol_named(name: str) -> type[BootProtocol]:
    """BootError if there is no protocol of that name."""
    if name not in PROTOCOLS:
        raise BootError(f"no boot protocol is named {name!r}: there are {', '.join(PROTOCOLS)}")
    # A run needs one of them, and most runs the first.
    protocol: type[BootProtocol] = getattr(import_module(f"kev.boot.{name}"), PROTOCOLS[name])
    return protocol


def _protocols() -> Iterator[type[BootProtocol]]:
    return map(protocol_named, PROTOCOLS)
