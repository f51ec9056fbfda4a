"""The boot protocols there are, by name: nothing of them is imported to know that."""

from typing import Final

PROTOCOLS: Final = {
    "keos": "Keos",
    "jos": "Jos",
    "multiboot2": "Multiboot2",
    "multiboot1": "Multiboot1",
    "pvh": "Pvh",
    "linux16": "Linux16",
    "linux": "Linux",
    "el_torito": "ElTorito",
    "real_mode": "RealMode",
    "firmware": "Firmware",
}
"""The names of all boot protocols and of the classes in their modules, in the order in which images are tried."""

DEFAULT_MEMORY: Final = 256 << 20
"""Bytes of RAM of a guest that does not say what it wants."""
_MEMORY: Final = {"jos": 16 << 20}


def default_memory(protocol: str | None) -> int:
    """The same for one that is booted by the protocol of this name: guests of the JOS VMM get as much as there."""
    return DEFAULT_MEMORY if protocol is None else _MEMORY.get(protocol, DEFAULT_MEMORY)
