"""The boot protocols there are, by name: nothing of them is imported to know that."""

from typing import Final

PROTOCOLS: Final = {
    "keos": "Keos",
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
