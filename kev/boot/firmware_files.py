"""ACPI tables for a firmware that places them itself (QEMU, docs/specs/fw_cfg.rst, and the commands of its linker/loader).

The tables are made as if they lay at 0. A script says where memory is wanted, which fields are addresses, and what has a checksum.
"""

import struct
from collections.abc import Sequence
from typing import Final

from kev.addressing import Gpa
from kev.boot.acpi import CHECKSUMS, POINTERS, ROOT_CHECKSUMS, ROOT_POINTERS, ROOT_SIZE, acpi_tables
from kev.boot.base import PciRoot, VirtioTransport

SCRIPT: Final = "etc/table-loader"
_ROOT: Final = "etc/acpi/rsdp"
_TABLES: Final = "etc/acpi/tables"

_COMMAND_SIZE: Final = 128
_ALLOCATE, _ADD_POINTER, _ADD_CHECKSUM = 1, 2, 3
_ALLOCATION: Final = struct.Struct("<I56sIB")
"""File, alignment and zone."""
_POINTER: Final = struct.Struct("<I56s56sIB")
"""The file that is changed, the file that is pointed to, offset and size of the address."""
_CHECKSUM: Final = struct.Struct("<I56sIII")
"""File, the offset of the checksum, and the bytes that it is for."""
_ANYWHERE, _WHERE_IT_IS_LOOKED_FOR = 1, 2
_ALIGNMENT: Final = 64
_ROOT_ALIGNMENT: Final = 16


def acpi_files(vcpus: int, virtio: Sequence[VirtioTransport], pci: PciRoot | None) -> dict[str, bytes]:
    """The files by name: the root pointer, the tables, and the script."""
    contents = bytearray(acpi_tables(Gpa(0), vcpus, virtio, pci))
    for checksum, _, _ in (*CHECKSUMS, *ROOT_CHECKSUMS):
        contents[checksum] = 0  # Some firmware replaces it, and counts it in before.
    commands = [
        _ALLOCATION.pack(_ALLOCATE, _ROOT.encode(), _ROOT_ALIGNMENT, _WHERE_IT_IS_LOOKED_FOR),
        _ALLOCATION.pack(_ALLOCATE, _TABLES.encode(), _ALIGNMENT, _ANYWHERE),
        *(_pointer(_TABLES, offset, size) for offset, size in POINTERS),
        *(_checksum(_TABLES, *checksum) for checksum in CHECKSUMS),
        *(_pointer(_ROOT, offset, size) for offset, size in ROOT_POINTERS),
        *(_checksum(_ROOT, *checksum) for checksum in ROOT_CHECKSUMS),
    ]
    return {
        _ROOT: bytes(contents[:ROOT_SIZE]),
        _TABLES: bytes(ROOT_SIZE) + contents[ROOT_SIZE:],
        SCRIPT: b"".join(command.ljust(_COMMAND_SIZE, b"\0") for command in commands),
    }


def _pointer(file: str, offset: int, size: int) -> bytes:
    return _POINTER.pack(_ADD_POINTER, file.encode(), _TABLES.encode(), offset, size)


def _checksum(file: str, offset: int, start: int, length: int) -> bytes:
    return _CHECKSUM.pack(_ADD_CHECKSUM, file.encode(), offset, start, length)
