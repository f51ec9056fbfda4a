"""The JOS VMM: an operating system that becomes a hypervisor, hypercall by hypercall."""

from typing import Final

from kev.abi.jos import MEMORY_MAP_GPA, memory_map
from kev.addressing import KIB, MIB
from kev.page_tables.mapping import MemoryType
from kev.tour.entries import IGNORE_PAT, leaf, require_entry
from kev.tour.exercise import Exercise, Tour, WrongAnswer, require_numbers
from kev.tour.guests import require_end, require_hypercalls, require_output, see
from kev.user_files import read_user_file

_MEMORY: Final = 16 * MIB
_MBMAP: Final = 1
_PAGE: Final = 0x40_0000
_SECTOR: Final = 512
_SIGNATURE: Final = b"\x55\xaa"
_TEXT: Final = b"protected\n"


def _mbmap(image: str) -> str:
    seen = see(image, abi="jos", memory=_MEMORY)
    require_hypercalls(seen, [_MBMAP], cpl=0)
    require_end(seen)
    if b"HLT in guest" not in seen.output:
        raise WrongAnswer("the guest does not end by HLT with interrupts off, as guests of the JOS VMM do")
    return f"hypercall {_MBMAP} has written the memory map to gpa {MEMORY_MAP_GPA:#x}, and HLT has shut the guest down"


def _extended_memory(text: str) -> str:
    last = memory_map(_MEMORY)[-24:]
    require_numbers(text, [int.from_bytes(last[12:20], "little")], ["the length"])
    return "so much lies between 1 MiB and the guest's end"


def _entry(text: str) -> str:
    entry = require_entry(text, leaf(_PAGE, MemoryType.WB, extra=IGNORE_PAT))
    return f"{entry:#x}: everything is permitted, write-back, whatever the guest's PAT says"


def _boot_sector(file: str) -> str:
    data = read_user_file(file, 64 * KIB, WrongAnswer)
    if len(data) != _SECTOR or not data.endswith(_SIGNATURE):
        raise WrongAnswer(f"{file}: {len(data)} bytes that end in {data[-2:].hex(' ')} are no sector: {_SECTOR}, ending in 55 aa")
    seen = see(file, boot="real_mode")
    require_output(seen, _TEXT)
    require_end(seen)
    if not seen.protected_mode:
        raise WrongAnswer("CR0.PE is 0 at the end: the guest has stayed in real mode")
    return "it is in protected mode when it ends"


TOUR: Final = Tour(
    "jos",
    "JOS VMM: an operating system that becomes a hypervisor",
    "docs/tours/jos.md",
    (
        Exercise(
            "entry",
            f"`ept_map_hva2gpa` maps a page of the host at {_PAGE:#x} with all permissions, write-back, and sets bit 6, which "
            "ignores the guest's PAT. Which entry does it write?",
            "NUMBER",
            _entry,
        ),
        Exercise(
            "extended-memory",
            "A guest of 16 MiB asks for its memory map. Which length in bytes has the last segment that it finds?",
            "NUMBER",
            _extended_memory,
        ),
        Exercise(
            "mbmap",
            f"Make a kernel whose first hypercall is {_MBMAP} (MBMAP), from CPL 0, and which shuts down as guests of the JOS "
            "VMM do, by HLT with interrupts off. It has 16 MiB.",
            "IMAGE",
            _mbmap,
        ),
        Exercise(
            "boot-sector",
            "Make a boot sector that enters protected mode, then prints `protected` and a line end on COM1 or port 0xe9, and "
            "powers off through a port (a double word 0x2000 to 0x604).",
            "FILE",
            _boot_sector,
        ),
    ),
)
