"""ELF files that no boot protocol claims: what they are made for instead, as far as that can be seen."""

from typing import Final

from kev.boot.base import BootError
from kev.boot.elf_layout import read_program_headers
from kev.boot.elf_notes import read_notes
from kev.boot.elf_sections import section_names
from kev.boot.entry_code import entry_bits
from kev.boot.keos import Keos
from kev.boot.kernel_file import KernelFile
from kev.errors import KevError
from kev.pager.errors import ImageError

_PROTOCOL: Final = Keos.name
_NOTHING: Final = "it has no Multiboot header, no PVH note and nothing of Linux"
_OTHER_LOADER: Final = "is it made for another loader, such as Limine or the bootloader crate?"
_PT_INTERP: Final = 3
_ABI_TAG: Final = (b"GNU", 1)
"""NT_GNU_ABI_TAG, by which a program says which operating system it runs on."""
_SECTIONS: Final = {
    ".limine_requests": "Limine",
    ".limine_reqs": "Limine",
    ".stivale2hdr": "stivale2",
    ".stivalehdr": "stivale",
    ".bootloader-config": "the bootloader crate",
    ".note.solo5.manifest": "a tender of Solo5",
}
_EM_X86_64: Final = 62


def detect_unmarked(file: KernelFile) -> tuple[str, str, str]:
    """The name of the protocol that such a file is entered by, the reason, and a warning.

    BootError, which says what the file is, if it is not entered.
    """
    other = _made_for(file)
    if other is not None:
        raise BootError(f"{file.name}: {other}")
    try:
        kernel = Keos.open(file)
    except KevError as error:
        raise BootError(f"{error}; {_NOTHING}: {_OTHER_LOADER}") from error
    entry = kernel.image.entry
    bits = entry_bits(file, kernel.image)
    if bits == 64 and file.machine == _EM_X86_64:
        raise BootError(
            f"{file.name}: the code at its entry {entry:#x} is 64-bit code, and nothing says how it wants to be entered: "
            f"{_NOTHING}; {_OTHER_LOADER}"
        )
    entered = f"is entered as KeOS is, in 32-bit mode at {entry:#x}"
    seen = "" if bits is None else f", and the code at its entry is {bits}-bit code"
    return _PROTOCOL, f"{_NOTHING}{seen}", f"{_NOTHING}: it {entered}; --boot says otherwise"


def _made_for(file: KernelFile) -> str | None:
    """What the file is, if something says that it is no kernel for any of the protocols."""
    try:
        return _find_maker(file)
    except ImageError:
        return None


def _find_maker(file: KernelFile) -> str | None:
    if any(header.type == _PT_INTERP for header in read_program_headers(file)):
        return "a program that an operating system's dynamic linker loads, and no kernel"
    if any((note.name, note.type) == _ABI_TAG for note in read_notes(file).notes):
        return "a program for an operating system, as a note of GNU says, and no kernel"
    for section in sorted(section_names(file) & _SECTIONS.keys()):
        return f"made for {_SECTIONS[section]}, as its section {section} says"
    return None
