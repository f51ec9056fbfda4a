"""ACPI tables that a firmware places: its part of the work is done here as QEMU describes it, by the script that it is given."""

import struct

import pytest

from kev.addressing import Gpa
from kev.boot.acpi import acpi_tables, rsdp
from kev.boot.base import PciRoot
from kev.boot.firmware_files import SCRIPT, acpi_files

ROOT, TABLES = "etc/acpi/rsdp", "etc/acpi/tables"
PCI = PciRoot(11)


def name(field: bytes) -> str:
    return field.rstrip(b"\0").decode()


def placed(files: dict[str, bytes], addresses: dict[str, int]) -> dict[str, bytes]:
    """What the files are when they lie at `addresses`. Commands: 1 places a file, 2 adds an address, 3 makes a checksum."""
    memory: dict[str, bytearray] = {}
    for start in range(0, len(files[SCRIPT]), 128):
        command = files[SCRIPT][start : start + 128]
        match int.from_bytes(command[:4], "little"):
            case 1:
                file = name(command[4:60])
                alignment, zone = struct.unpack_from("<IB", command, 60)
                assert addresses[file] % alignment == 0
                assert zone == (2 if file == ROOT else 1)
                memory[file] = bytearray(files[file])
            case 2:
                changed, to = name(command[4:60]), name(command[60:116])
                offset, size = struct.unpack_from("<IB", command, 116)
                field = slice(offset, offset + size)
                address = int.from_bytes(memory[changed][field], "little") + addresses[to]
                memory[changed][field] = address.to_bytes(size, "little")
            case 3:
                file = name(command[4:60])
                offset, first, length = struct.unpack_from("<III", command, 60)
                assert memory[file][offset] == 0
                memory[file][offset] = -sum(memory[file][first : first + length]) & 0xFF
            case number:
                pytest.fail(f"command {number}")
    return {file: bytes(contents) for file, contents in memory.items()}


@pytest.mark.parametrize("vcpus", [1, 4])
@pytest.mark.parametrize("base", [0x0FFF_0000, 0x7F01_2340])
def test_the_script_makes_the_tables_that_lie_there(vcpus: int, base: int) -> None:
    found = placed(acpi_files(vcpus, (), PCI), {ROOT: 0xF5A10, TABLES: base})
    assert found[ROOT] == rsdp(Gpa(base))
    root = len(found[ROOT])
    assert found[TABLES] == bytes(root) + acpi_tables(Gpa(base), vcpus, (), PCI)[root:]
