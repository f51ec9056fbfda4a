"""Entries of nested page tables as answers: what is wrong with one is said field by field."""

from typing import Final

from kev.page_tables.ept import EptFormat
from kev.page_tables.errors import Misconfigured
from kev.page_tables.format import ADDRESS_MASK, LARGE_PAGE
from kev.page_tables.mapping import MemoryType, PageSize, Permissions
from kev.tour.exercise import WrongAnswer, parse_number

IGNORE_PAT: Final = 1 << 6
_FORMAT: Final = EptFormat()
_DECODED: Final = ADDRESS_MASK | LARGE_PAGE | 0x3F


def leaf(hpa: int, memory_type: MemoryType, size: PageSize = PageSize.SIZE_4K, extra: int = 0) -> int:
    """The EPT entry of a page of which everything is permitted, at a host-physical address, with `extra` bits."""
    return hpa | _FORMAT.leaf_flags(Permissions.RWX, memory_type, size) | extra


def require_entry(text: str, wanted: int) -> int:
    """The entry that `text` is, if it is the one that is wanted. WrongAnswer names the first field that is another."""
    entry = parse_number(text)
    if entry == wanted:
        return entry
    if entry & ADDRESS_MASK != wanted & ADDRESS_MASK:
        raise WrongAnswer(f"{entry:#x}: its address is {entry & ADDRESS_MASK:#x}, which is not where the page lies")
    if _FORMAT.permission_bits(entry) != _FORMAT.permission_bits(wanted):
        raise WrongAnswer(f"{entry:#x}: it permits {Permissions(_FORMAT.permission_bits(entry))}, which is not all there is")
    if entry & LARGE_PAGE != wanted & LARGE_PAGE:
        raise WrongAnswer(f"{entry:#x}: bit 7, which says whether an upper level maps a page, is wrong")
    try:
        found = _FORMAT.memory_type(entry)
    except Misconfigured as error:
        raise WrongAnswer(str(error)) from None
    if found is not _FORMAT.memory_type(wanted):
        raise WrongAnswer(f"{entry:#x}: its memory type is {found.name}, which is not what this page needs")
    raise WrongAnswer(f"{entry:#x}: bits {(entry ^ wanted) & ~_DECODED:#x} beside address, permissions and memory type are wrong")
