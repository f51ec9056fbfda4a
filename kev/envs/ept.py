"""The functions of the JOS VMM that work on a guest's EPT (JOS VMM, vmm/ept.c), on real tables.

The lab has two editions. In that of the thesis, `ept_page_insert` is told whether to overwrite, and `ept_map_hva2gpa` never does.
In that of UT Austin it is the other way round: `ept_map_hva2gpa` is told, and `ept_page_insert` always overwrites. Here both
functions are there once, and the edition says which of them takes the flag, and which bits the entries get. Of the thesis' edition
no source was at hand: its entries are what UT's lab asks for where memory is mapped, write-back and IPAT.
"""

from enum import Enum
from typing import Final

from kev.addressing import GIB, Gpa, Hpa, is_page_aligned
from kev.envs.errors import JosError, JosFailure
from kev.envs.memory import PhysicalMemory
from kev.host_memory import HostMemoryError
from kev.page_tables.errors import PagingError
from kev.page_tables.format import ADDRESS_MASK
from kev.page_tables.table import PageTable

KERNEL_BASE: Final = 0x80_0400_0000
"""KERNBASE of the host: its virtual address of physical address 0."""
EPTE_READ: Final = 1 << 0
EPTE_WRITE: Final = 1 << 1
EPTE_EXEC: Final = 1 << 2
EPTE_FULL: Final = EPTE_READ | EPTE_WRITE | EPTE_EXEC
EPTE_WB: Final = 6 << 3
"""Memory type: write-back. Without it, uncacheable."""
EPTE_IPAT: Final = 1 << 6
"""The guest's own memory type, from its PAT, is ignored."""
LARGEST_HOST: Final = 64 * GIB


class Edition(Enum):
    """Of the lab."""

    THESIS = "thesis"
    UT = "ut"


def ept_lookup_gpa(root: PageTable | None, gpa: int, create: bool) -> int:
    """Which word of host memory is the entry for the 4 KiB page at `gpa`. Tables that `create` makes permit everything.

    JosFailure: E_INVAL without a root, or if no table has an entry for the address; E_NO_ENT if a table is missing and none is to
    be made; E_NO_MEM if there is no room for one.
    """
    if root is None:
        raise JosFailure(JosError.INVAL, "there is no EPT: its root is NULL")
    try:
        index = root.entry_index(gpa, create=create)
    except PagingError as error:
        raise JosFailure(JosError.INVAL, str(error)) from error
    except HostMemoryError as error:
        raise JosFailure(JosError.NO_MEM, f"no memory for a table of the EPT: {error}") from error
    if index is None:
        raise JosFailure(JosError.NO_ENT, f"gpa {gpa:#x}: a table on the way to its entry is missing")
    return index


def ept_entry(root: PageTable, gpa: int) -> int:
    """The entry of the page at `gpa`; 0 if nothing is mapped."""
    index = root.leaf_index(gpa)
    return 0 if index is None else root.memory.words[index]


def ept_map_hva2gpa(
    memory: PhysicalMemory,
    root: PageTable | None,
    hva: int,
    gpa: int,
    perm: int,
    overwrite: bool | None,
    edition: Edition = Edition.UT,
) -> None:
    """Maps the page at `hva`, a virtual address of the host's kernel, at `gpa`: write-back, whatever the guest's PAT says.

    UT's: reference counts are the caller's, and a page that is mapped stays unless `overwrite`. The thesis': `overwrite` must be
    None, and what is mapped stays. JosFailure: E_INVAL if a page is mapped and stays; those of `ept_lookup_gpa`.
    """
    _check_flag("ept_map_hva2gpa", overwrite, edition is Edition.UT, edition)
    index = ept_lookup_gpa(root, gpa, True)
    if memory.memory.words[index] & EPTE_FULL and not overwrite:
        raise _mapped_already(gpa)
    memory.memory.words[index] = _physical(hva) | perm | EPTE_WB | EPTE_IPAT


def ept_page_insert(
    memory: PhysicalMemory,
    root: PageTable | None,
    page: Hpa,
    gpa: int,
    perm: int,
    overwrite: bool | None,
    edition: Edition = Edition.UT,
) -> None:
    """Maps a page of the host at `gpa`, which gives it one more reference; a page that was mapped there loses one.

    UT's: `overwrite` must be None, what is mapped is replaced, `perm` may be a page table entry's permissions, READ is added, and
    the memory type is UC. The thesis': a page that is mapped stays unless `overwrite`; the entry is write-back. JosFailure:
    E_INVAL if a page is mapped and stays; those of `ept_lookup_gpa`.
    """
    _check_flag("ept_page_insert", overwrite, edition is Edition.THESIS, edition)
    index = ept_lookup_gpa(root, gpa, True)
    words = memory.memory.words
    before = words[index]
    if before & EPTE_FULL and overwrite is False:
        raise _mapped_already(gpa)
    # Before the other loses one: it may be the same page.
    memory.retain(page)
    if before & EPTE_FULL:
        memory.release(Hpa(before & ADDRESS_MASK))
    words[index] = page | perm | (EPTE_READ if edition is Edition.UT else EPTE_WB | EPTE_IPAT)


def ept_page_remove(memory: PhysicalMemory, root: PageTable, gpa: int) -> None:
    """Unmaps the page at `gpa`, if there is one: it loses a reference."""
    if ept_entry(root, gpa):
        memory.release(root.unmap(Gpa(gpa)).hpa)


def _physical(hva: int) -> int:
    page = hva - KERNEL_BASE
    if not 0 <= page < LARGEST_HOST or not is_page_aligned(page):
        raise JosFailure(JosError.INVAL, f"hva {hva:#x} is no page of the host's memory, which begins at {KERNEL_BASE:#x}")
    return page


def _check_flag(function: str, overwrite: bool | None, taken: bool, edition: Edition) -> None:
    if (overwrite is not None) is not taken:
        wanted = "needs an" if taken else "takes no"
        raise JosFailure(JosError.INVAL, f"{function} of the {edition.value} edition {wanted} overwrite flag")


def _mapped_already(gpa: int) -> JosFailure:
    return JosFailure(JosError.INVAL, f"gpa {gpa:#x} is mapped already")
