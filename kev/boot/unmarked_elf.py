"""ELF files that no boot protocol claims: what they are made for instead, as far as that can be seen."""

import struct
from typing import Final

from kev.addressing import MIB
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
_LIMINE_REQUEST: Final = struct.pack("<2Q", 0xC7B1_DD30_DF4C_8B88, 0x0A82_E883_A194_F07B)
"""LIMINE_COMMON_MAGIC, which every request begins with."""
_SEARCHED: Final = 16 * MIB
_BOOTBOOT_CORE: Final = 0xFFFF_FFFF_FFE0_0000
"""BOOTBOOT's information, with the kernel behind it (BOOTBOOT Protocol, "Static")."""
_PT_LOAD: Final = 1
_PT_INTERP: Final = 3
_FREEBSD_INTERPRETER: Final = b"/red/herring\0"
_ABI_TAG: Final = (b"GNU", 1)
"""NT_GNU_ABI_TAG, by which a program says which operating system it runs on."""
_SECTIONS: Final = {
    ".limine_requests": "Limine",
    ".limine_reqs": "Limine",
    ".stivale2hdr": "stivale2",
    ".stivalehdr": "stivale",
    ".bootloader-config": "the bootloader crate",
    ".note.solo5.manifest": "a tender of Solo5",
    "__xen_guest": "Xen's paravirtualization",
}
_NOTES: Final = {
    (b"HERMIT", 0x5A00): "Hermit's loader",
    (b"Xen", 6): "Xen's paravirtualization",
}
"""By name and type of their notes: NT_HERMIT_ENTRY_VERSION, XEN_ELFNOTE_GUEST_OS. What has a PVH entry besides is booted."""
_EM_X86_64: Final = 62
_KINDS: Final = {
    1: "an object file: what a linker makes of it is a kernel, with the addresses that the kernel wants (ld -T link.ld)",
    4: "a core file: gdb and `kev inspect` read it",
}
"""By e_type: what is not executed."""


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
        _refuse_limine(file)
        raise BootError(f"{error}; {_NOTHING}: {_OTHER_LOADER}") from error
    entry = kernel.image.entry
    bits = entry_bits(file, kernel.image)
    if bits == 64 and file.machine == _EM_X86_64:
        _refuse_limine(file)
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
    if file.kind in _KINDS:
        return _KINDS[file.kind]
    headers = list(read_program_headers(file))
    for header in headers:
        if header.type == _PT_INTERP:
            if file.bytes_at(header.offset, len(_FREEBSD_INTERPRETER)) == _FREEBSD_INTERPRETER:
                return "made for FreeBSD's loader, as its interpreter /red/herring says"
            return "a program that an operating system's dynamic linker loads, and no kernel"
    notes = read_notes(file).notes
    if any((note.name, note.type) == _ABI_TAG for note in notes):
        return "a program for an operating system, as a note of GNU says, and no kernel"
    for section in sorted(section_names(file) & _SECTIONS.keys()):
        return f"made for {_SECTIONS[section]}, as its section {section} says"
    for note in notes:
        if (note.name, note.type) in _NOTES:
            return f"made for {_NOTES[note.name, note.type]}, as a note of {note.name.decode()} says"
    if any(header.type == _PT_LOAD and header.address >= _BOOTBOOT_CORE for header in headers):
        return "made for BOOTBOOT, as its addresses say"
    return None


def _refuse_limine(file: KernelFile) -> None:
    """BootError if there is a request of Limine in the beginning of a file, which is refused anyway."""
    if _LIMINE_REQUEST in file.bytes_at(0, min(file.source.size, _SEARCHED)):
        raise BootError(f"{file.name}: made for Limine, as a request in it says")
