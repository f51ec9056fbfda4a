"""QEMU's firmware configuration device (QEMU documentation, "QEMU Firmware Configuration (fw_cfg) Device"), without DMA.

A guest without firmware asks it for the size of the machine. Firmware also finds ACPI tables there, and SeaBIOS that its screen and
keyboard are a serial line.
"""

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Self

from kev.dev.base import PlainDevice
from kev.dev.surroundings import Surroundings
from kev.state import Fields, bits

_SELECTOR: Final = 0x510
_DATA: Final = 0x511

SIGNATURE: Final = 0x00
INTERFACE: Final = 0x01
RAM_SIZE: Final = 0x03
CPUS: Final = 0x05
MAXIMUM_CPUS: Final = 0x0F
FILE_DIRECTORY: Final = 0x19

_TRADITIONAL_INTERFACE: Final = 1
_FIRST_FILE: Final = 0x20
_DIRECTORY: Final = struct.Struct(">I")
_FILE: Final = struct.Struct(">IH2x56s")
"""Size, selector and name."""
_SERIAL_CONSOLE: Final = {"etc/sercon-port": struct.pack("<Q", 0x3F8)}
"""COM1 is SeaBIOS's."""


_NO_FILES: Final[Mapping[str, bytes]] = MappingProxyType({})


class FirmwareConfiguration(PlainDevice):
    """A word written to 0x510 selects an item; reads of 0x511 give its bytes one by one, and zeros after its end."""

    name: Final = "firmware configuration"
    ports: Final = (range(_SELECTOR, _DATA + 1),)
    wide_ports: Final = (range(_SELECTOR, _SELECTOR + 1),)

    FIELDS = Fields({"_selected": bits(16), "_offset": bits(64)})

    __slots__ = ("_items", "_offset", "_selected")

    def __init__(self, vcpus: int, ram_size: int, files: Mapping[str, bytes] = _NO_FILES) -> None:
        """`ram_size` in bytes."""
        files = {**_SERIAL_CONSOLE, **files}
        self._items = {
            SIGNATURE: b"QEMU",
            INTERFACE: struct.pack("<I", _TRADITIONAL_INTERFACE),
            RAM_SIZE: struct.pack("<Q", ram_size),
            CPUS: struct.pack("<H", vcpus),
            MAXIMUM_CPUS: struct.pack("<H", vcpus),
            FILE_DIRECTORY: _directory(files),
            **dict(enumerate(files.values(), _FIRST_FILE)),
        }
        self.reset()

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        return cls(machine.vcpus, sum(map(len, machine.ram)), machine.firmware_files())

    def reset(self) -> None:
        self._selected = SIGNATURE
        self._offset = 0

    def read_port(self, port: int, size: int) -> int:
        item = self._items.get(self._selected, b"")
        if port != _DATA or self._offset >= len(item):
            return 0
        self._offset += 1
        return item[self._offset - 1]

    def write_port(self, port: int, size: int, value: int) -> None:
        if port == _SELECTOR and size > 1:
            self._selected = value & 0xFFFF
            self._offset = 0


def _directory(files: Mapping[str, bytes]) -> bytes:
    entries = (_FILE.pack(len(data), number, name.encode()) for number, (name, data) in enumerate(files.items(), _FIRST_FILE))
    return _DIRECTORY.pack(len(files)) + b"".join(entries)
