"""How an ELF file is known to be a Linux kernel."""

from typing import Final

from kev.boot.elf_notes import read_notes
from kev.boot.elf_sections import section_names
from kev.boot.kernel_file import KernelFile

_XEN: Final = b"Xen"
_GUEST_OS: Final = 6
"""Xen, public/elfnote.h."""
_LINUX: Final = b"linux"
_OWNER: Final = b"Linux"
"""Of notes since Linux 5.0 (include/linux/elfnote.h)."""
_SECTIONS: Final = frozenset({".init.text", "__ex_table", "__param"})
"""What a Linux kernel has, and hardly another one."""


def find_linux(file: KernelFile) -> str | None:
    """What says that an ELF file is a Linux kernel; None if nothing does. ImageError if its headers are damaged."""
    for note in read_notes(file).notes:
        if note.name == _OWNER:
            return "a note of Linux"
        if (note.name, note.type, note.description.rstrip(b"\0")) == (_XEN, _GUEST_OS, _LINUX):
            return "a note of Xen that names its operating system as linux"
    if section_names(file) >= _SECTIONS:
        return f"the sections of a Linux kernel, such as {', '.join(sorted(_SECTIONS))}"
    return None
