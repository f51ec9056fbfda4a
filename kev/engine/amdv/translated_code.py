"""Keeps translated instructions true to the memory that they were translated from.

The emulated CPU notices a store to code if the store's own mapping permits execution. If it does not, the CPU looks at the first
store only, until the mapping is looked up anew: a kernel that writes a program through an execute-disabled alias would execute what
was there before. Nor does the CPU notice what others write.

So every store to the machine's memory is looked at. As that takes ten times as long, the memory lies in the CPU's physical address
space a second time, where it is not; pages lie there until they are executed. And which frames have code is kept, for the writes of
others.
"""

import ctypes
from collections.abc import Collection
from typing import Final

from kev.addressing import PAGE_MASK, PAGE_SHIFT, Gpa, page_floor
from kev.engine.amdv import libunicorn
from kev.engine.amdv.host import Host
from kev.engine.amdv.libunicorn import block_range
from kev.engine.amdv.linear import LinearMemory
from kev.engine.amdv.native import address_of, library
from kev.engine.amdv.slice import Slice
from kev.engine.amdv.vcpu import AmdvVcpu
from kev.page_tables.table import PageTable

_VERSION: Final = 1
"""What `kev_blocks_version` says of a library that was built from the source as it is now."""
_NATIVE: Final = library("blocks", _VERSION)
_LOCATE: Final = libunicorn.function_address("get_page_addr_code_x86_64")

# Quadwords of struct blocks.
_STATE, _LOCATE_FUNCTION, _NOTE, _KNOWN = range(4)
_KNOWN_PAGES: Final = 4096
_NOTHING: Final = bytes(8 * _KNOWN_PAGES)


class _KnownPages:
    """Pages that `native/blocks.c` need not ask about."""

    __slots__ = ("_view", "address", "words")

    def __init__(self, state: int) -> None:
        memory = ctypes.create_string_buffer(8 * (_KNOWN + _KNOWN_PAGES))
        self.address: Final = ctypes.addressof(memory)
        """Of struct blocks, in this process."""
        self._view: Final = memoryview(memory).cast("B")
        self.words: Final = self._view.cast("Q")
        self.words[_STATE], self.words[_LOCATE_FUNCTION] = state, _LOCATE or 0

    def clear(self) -> None:
        self._view[8 * _KNOWN :] = _NOTHING


class TranslatedCode:
    """Which pages have been executed.

    Watching costs some 2 us for each block that is translated where Python is asked about each. There it begins when something can
    happen that the CPU does not notice: the guest enables NX or SMEP, a device writes to memory, a page is unmapped; what was
    translated until then is forgotten. Where `native/blocks.c` asks, it begins with the first slice that is not counted, because
    stores to what is not executed are several times as fast then (`kev.engine.amdv.tlb_fills`).
    """

    __slots__ = (
        "_alias",
        "_begun",
        "_due",
        "_frames",
        "_host",
        "_known",
        "_linear",
        "_memory",
        "_pages",
        "_slice",
        "_table",
        "_uc",
        "_watching",
    )

    def __init__(self, host: Host, table: PageTable, linear: LinearMemory, slice: Slice, *, native: bool) -> None:
        """`native`: code that was compiled for the host may be used, if there is any."""
        self._host: Final = host
        self._uc: Final = host.processor.cpu
        self._memory: Final = host.memory
        self._table: Final = table
        self._linear: Final = linear
        self._slice: Final = slice
        self._frames: Final[set[int]] = set()  # those that instructions were translated from
        self._pages: Final[set[int]] = set()  # the same, by guest-physical address
        self._alias = 0
        usable = native and _NATIVE is not None and _LOCATE is not None and host.fills.available
        self._known: Final = _KnownPages(host.processor.state.address) if usable else None
        self._watching = False
        self._begun = False
        self._due = False

    # Stores of the guest.

    def watch(self) -> None:
        """From now on stores to code are noticed, whatever the mapping. For callbacks that no translated code waits for."""
        if self._watching:
            return
        self._watching = True
        size = self._memory.size
        self._uc.look_at_stores(0, size - 1)
        self._alias = self._host.data_alias
        if self._alias:
            self._table.add_to_pages(self._alias)
        self._ask_about_blocks()
        self._uc.flush_tlb()
        if self._begun:
            self._uc.flush_code()

    def fetched(self, gpa: Gpa) -> None:
        """A page that was absent is there, and is about to be executed."""
        if self._watching:
            self._move(page_floor(gpa))

    def _ask_about_blocks(self) -> None:
        if self._known is None:
            self._uc.on_translation(self._on_translation)
        else:
            assert _NATIVE is not None
            native = address_of(_NATIVE.kev_block_translated), self._known.address
            self._known.words[_NOTE] = self._uc.on_translation_natively(native, self._on_translation)

    def _on_translation(self, _uc: int, block: int, _previous: int, _data: object) -> bool:
        """Whether it is known now what the block was translated from."""
        vcpu = self._slice.vcpu
        if vcpu is None or not vcpu.in_guest_mode:
            return False
        address, size = block_range(block)
        known = self._note(vcpu, address)
        if address + size - 1 >> PAGE_SHIFT != address >> PAGE_SHIFT:
            known &= self._note(vcpu, address + size - 1)
        return known

    def _note(self, vcpu: AmdvVcpu, address: int) -> bool:
        """Instructions in the page that holds the linear `address` are about to be executed. Whether that page is known now."""
        place = self._linear.frame_and_gpa(vcpu, address)
        if place is None:
            return False
        frame, page = place
        if frame in self._frames:
            return True
        self._frames.add(frame)
        self._pages.add(page)
        if self._move(page):
            self._uc.flush_tlb()
        return True

    def _move(self, page: int) -> bool:
        """Lets the guest have a page where stores are looked at; False if it has it there already."""
        index = self._table.leaf_index(page)
        if index is None or not self._memory.words[index] & self._alias:
            return False
        self._memory.words[index] &= ~self._alias
        return True

    # What others do.

    def written(self, hpa: int) -> None:
        """A device has written to the page at `hpa`."""
        if not self._watching or hpa & ~PAGE_MASK in self._frames:
            self._forget_soon()

    def stored(self, hpa: int) -> None:
        """The hypervisor has written for an instruction of the guest."""
        if hpa & ~PAGE_MASK in self._frames:
            self._forget_soon()

    def replaced(self, hpa: int) -> None:
        """The hypervisor has written much of the page at `hpa` for an instruction that the CPU is executing.

        That is as if the CPU had stored it, which makes it forget blocks of the page at once, the one that it is in among them.
        """
        if libunicorn.CAN_FORGET_PAGES:
            self._uc.forget_code_of(self._memory.address, (hpa & ~PAGE_MASK,))
        else:
            self.written(hpa)

    def unmapped(self, gpa: Gpa) -> None:
        """A page is no longer there. When it comes again, its frame may be filled otherwise."""
        if not self._watching or page_floor(gpa) in self._pages:
            self._forget_soon()

    def refilled(self, frames: Collection[int]) -> None:
        """Others have filled these pages, between two slices: what was translated from them is forgotten."""
        self._uc.forget_code_of(self._memory.address, frames)
        # Who executes them now has to be noticed anew: they may be mapped where stores are not looked at.
        self._frames.difference_update(frames)
        self._forget_known()

    def _forget_soon(self) -> None:
        """After the instruction that is being executed. Its block may still be needed, so nothing can be forgotten now."""
        self._due = True
        self._frames.clear()
        self._pages.clear()
        self._forget_known()
        self._slice.end_soon()

    def _forget_known(self) -> None:
        if self._known is not None:
            self._known.clear()

    @property
    def is_due(self) -> bool:
        """`settle` has something to do before a counted slice that is not the first."""
        return self._due

    def settle(self, *, counted: bool) -> None:
        """Called before every slice."""
        if self._known is not None and not counted:
            self.watch()
        self._begun = True
        if not self._due:
            return
        self._due = False
        if self._watching:
            self._uc.flush_code()
        else:
            self.watch()
