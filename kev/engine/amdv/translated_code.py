"""Keeps translated instructions true to the memory that they were translated from.

The emulated CPU notices a store to code if the store's own mapping permits execution. If it does not, the CPU looks at the first
store only, until the mapping is looked up anew: a kernel that writes a program through an execute-disabled alias would execute what
was there before. Nor does the CPU notice what others write.

So every store to the machine's memory is looked at. As that takes ten times as long, the memory lies in the CPU's physical address
space a second time, where it is not; pages lie there until they are executed. And which frames have code is kept, for the writes of
others.
"""

from collections.abc import Collection
from typing import Final

from kev.addressing import PAGE_MASK, PAGE_SHIFT, Gpa, page_floor
from kev.engine.amdv import libunicorn
from kev.engine.amdv.host import Host
from kev.engine.amdv.libunicorn import block_range
from kev.engine.amdv.linear import LinearMemory
from kev.engine.amdv.slice import Slice
from kev.engine.amdv.vcpu import AmdvVcpu
from kev.page_tables.table import PageTable


class TranslatedCode:
    """Which pages have been executed.

    Watching costs some 2 us for each block that is translated. It begins when something can happen that the CPU does not notice:
    the guest enables NX or SMEP, a device writes to memory, a page is unmapped. What was translated until then is forgotten.
    """

    __slots__ = ("_alias", "_due", "_frames", "_host", "_linear", "_memory", "_pages", "_slice", "_table", "_uc", "_watching")

    def __init__(self, host: Host, table: PageTable, linear: LinearMemory, slice: Slice) -> None:
        self._host: Final = host
        self._uc: Final = host.processor.cpu
        self._memory: Final = host.memory
        self._table: Final = table
        self._linear: Final = linear
        self._slice: Final = slice
        self._frames: Final[set[int]] = set()  # those that instructions were translated from
        self._pages: Final[set[int]] = set()  # the same, by guest-physical address
        self._alias = 0
        self._watching = False
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
        self._uc.on_translation(self._on_translation)
        self._uc.flush_tlb()
        self._uc.flush_code()

    def fetched(self, gpa: Gpa) -> None:
        """A page that was absent is there, and is about to be executed."""
        if self._watching:
            self._move(page_floor(gpa))

    def _on_translation(self, _uc: int, block: int, _previous: int, _data: object) -> None:
        vcpu = self._slice.vcpu
        if vcpu is None or not vcpu.in_guest_mode:
            return
        address, size = block_range(block)
        self._note(vcpu, address)
        if address + size - 1 >> PAGE_SHIFT != address >> PAGE_SHIFT:
            self._note(vcpu, address + size - 1)

    def _note(self, vcpu: AmdvVcpu, address: int) -> None:
        """Instructions in the page that holds the linear `address` are about to be executed."""
        frame = self._linear.frame(vcpu, address)
        if frame is None or frame in self._frames:
            return
        gpa = self._linear.look_up(vcpu, address)
        assert gpa is not None
        page = page_floor(gpa)
        self._frames.add(frame)
        self._pages.add(page)
        if self._move(page):
            self._uc.flush_tlb()

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

    def _forget_soon(self) -> None:
        """After the instruction that is being executed. Its block may still be needed, so nothing can be forgotten now."""
        self._due = True
        self._frames.clear()
        self._pages.clear()
        self._slice.end_soon()

    def settle(self) -> None:
        """Called before every slice."""
        if not self._due:
            return
        self._due = False
        if self._watching:
            self._uc.flush_code()
        else:
            self.watch()
