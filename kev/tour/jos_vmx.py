"""JOS-vmx: a whole machine, mapped onto itself."""

from typing import Final

from kev.abi.jos_vmx import INSIDE, INSIDE_LEAF
from kev.addressing import GIB, MIB
from kev.page_tables.audit import audit
from kev.page_tables.identity import QUICK, SHIFT, WholeMachine
from kev.page_tables.mapping import MemoryType, PageSize
from kev.page_tables.shadowing import Counts, Population, count_tables
from kev.page_tables.table_file import read_table
from kev.tour.entries import leaf, require_entry
from kev.tour.exercise import Exercise, Tour, WrongAnswer, require_numbers
from kev.tour.guests import require_end, require_output, see

_SMALL, _LARGE = 4 * GIB, 32 * GIB
_GUESTS, _PROCESSES = 6, 30


def _identity(text: str) -> str:
    entry = require_entry(text, leaf(0x1000, MemoryType.WB))
    return f"{entry:#x}: read, write and execute, write-back, at 0x1000"


def _video(text: str) -> str:
    entry = require_entry(text, leaf(0xA0000, MemoryType.UC))
    return f"{entry:#x}: uncacheable, as registers and memory of an adapter have to be"


def _large(text: str) -> str:
    entry = require_entry(text, leaf(2 * MIB, MemoryType.WB, PageSize.SIZE_2M))
    return f"{entry:#x}: one entry for 512 pages"


def _shifted(text: str) -> str:
    entry = require_entry(text, leaf(MIB + SHIFT, MemoryType.WB))
    return f"{entry:#x}: the guest's second MiB begins behind the host's own 64"


def _quick(text: str) -> str:
    require_numbers(text, [WholeMachine(_SMALL, style=QUICK).build().tables], ["the number of pages"])
    return "so many are there when such a table is built"


def _mixed(text: str) -> str:
    require_numbers(text, [WholeMachine(_LARGE).build().tables], ["the number of pages"])
    return "so many are there when such a table is built: 32 GiB fit in 4 MiB of tables"


def _table(file: str) -> str:
    found = audit(read_table(file).table, WholeMachine(_SMALL, SHIFT))
    if found:
        raise WrongAnswer(f"{len(found)} ranges are wrong, the first of them {found[0]}")
    return f"no entry of {file} is wrong"


def _inside(image: str) -> str:
    for abi, text in (("jos_vmx", b"inside"), ("kvm", b"outside")):
        seen = see(image, abi=abi)
        require_output(seen, text)
        require_end(seen)
    return f"CPUID leaf {INSIDE_LEAF:#x} says {INSIDE:#x} inside, and something else outside"


def _shadow(text: str) -> str:
    found = _counted()
    require_numbers(text, [found.shadow.trees, found.nested.trees], ["with shadow paging", "with nested paging"])
    return (
        f"built, they take {found.shadow.pages:,} pages and {found.nested.pages:,}, besides the guests' own {found.guest.pages:,}"
    )


def _reads(text: str) -> str:
    found = _counted()
    require_numbers(text, [found.shadow_reads, found.nested_reads], ["with shadow paging", "with nested paging"])
    return "so many entries were read where nothing was cached"


def _counted() -> Counts:
    return count_tables(Population(_GUESTS, _PROCESSES, pages=64, kernel_pages=64))


TOUR: Final = Tour(
    "jos-vmx",
    "JOS-vmx: a machine mapped onto itself",
    "docs/tours/jos-vmx.md",
    (
        Exercise(
            "identity",
            "Which EPT entry maps the page at gpa 0x1000 onto the same address, write-back, with everything permitted?",
            "NUMBER",
            _identity,
        ),
        Exercise("video", "Which one maps the first page of the display adapter, at 0xa0000, uncacheable?", "NUMBER", _video),
        Exercise("large", "Which one maps 2 MiB at gpa 0x200000 onto the same addresses, write-back?", "NUMBER", _large),
        Exercise(
            "shifted",
            "The host keeps its first 64 MiB to itself: all of the guest above 1 MiB lies 64 MiB higher. Which entry maps gpa"
            " 0x100000?",
            "NUMBER",
            _shifted,
        ),
        Exercise(
            "quick",
            "4 GiB are mapped by pages of 4 KiB alone, quick and dirty. Of how many pages is the table, all levels together?",
            "NUMBER",
            _quick,
        ),
        Exercise(
            "mixed",
            "32 GiB are mapped: the first 2 MiB and from 3 GiB to 4 GiB by pages of 4 KiB, everything else by pages of 2 MiB."
            " Of how many pages is the table?",
            "NUMBER",
            _mixed,
        ),
        Exercise(
            "table",
            "Make the table of a machine of 4 GiB that is shifted by 64 MiB, by the rule of `kev ept` and in its file format,"
            " with a program of your own.",
            "FILE",
            _table,
        ),
        Exercise(
            "inside",
            "Make a kernel that asks CPUID whether it is inside a virtual machine of JOS-vmx, prints `inside` or `outside`, "
            "and ends with exit code 0.",
            "IMAGE",
            _inside,
        ),
        Exercise(
            "shadow",
            f"{_GUESTS} guests have {_PROCESSES} processes each. How many page tables does the hypervisor keep for them, with "
            "shadow paging and with nested paging?",
            "N,N",
            _shadow,
        ),
        Exercise(
            "reads",
            "Nothing is cached. How many entries are read at most until the host-physical address of a page of 4 KiB is "
            "known, with shadow paging and with nested paging?",
            "N,N",
            _reads,
        ),
    ),
)
