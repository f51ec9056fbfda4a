"""Fills the emulated CPU's TLB by `native/tlb.c`, in the place of a function of the CPU's own that takes ten times as long.

The CPU's own one asks for each of up to 24 table entries through all that may lie behind a physical address. It also marks what it
has found so that every store is looked at for as long as the mapping permits execution: kernels that know no NX store that way all
the time. Pages at `Host.data_alias` have no translated code, so that their stores need not be looked at.

Pages of zeros and of files that nobody has touched yet can be offered to it, in slabs of 2 MiB: then it fills and maps each when it
is touched, and notes that in the pager's own states. What it cannot fill is asked for.

How many entries the TLB has, the CPU decides by the host's clock. Here it is decided by how often the TLB was emptied, so that it
is the same in every run of a guest.

Where the library or one of the functions that it calls is missing, the CPU's own function stays.
"""

import ctypes
from array import array
from collections.abc import Callable, Sequence
from typing import Final

from kev.engine.amdv import layout, libunicorn
from kev.engine.amdv.layout import CpuMemory
from kev.engine.amdv.native import Structure, address_of, library
from kev.host_memory import HostMemory
from kev.pager.protocols import AlikePages

_VERSION: Final = 6
"""What `kev_tlb_version` says of a library that was built from the source as it is now."""
NATIVE: Final = library("tlb", _VERSION)
"""None: the CPU fills its TLB itself."""
_FUNCTIONS: Final = ("x86_cpu_tlb_fill_x86_64", "tlb_set_page_with_attrs_x86_64", "tlb_set_dirty_x86_64")

# Quadwords of struct fills.
_ORIGINAL, _SET_PAGE, _SET_DIRTY, _STATE, _MEMORY, _SIZE, _ALIAS, _SLABS, _FILLED, _MAY_FILL, _CLOCK, _READ, _CR3, _REFUSED_CR3 = (
    range(14)
)
_EMPTIED: Final = 14
_MODES: Final = 3
_STACK: Final = _EMPTIED + _MODES
_STACK_WORDS: Final = 128
# Of struct slab.
_NUMBER, _FIRST, _STATES, _RUNS, _COUNT = range(5)
_SLAB_WORDS: Final = 5
_SLAB_SHIFT: Final = 21
_AN_EXPIRED_WINDOW: Final = memoryview(array("Q", (0, 150)))
"""With so many entries used, the CPU makes any other TLB one of 256 entries, or one that is nearer to that."""
_A_NEW_WINDOW: Final = memoryview(array("Q", (1 << 62, 0)))
_NEVER_EMPTIED: Final = memoryview(array("Q", (0,) * _MODES))
_MOST_SLABS: Final = 1024
NOWHERE_SHIFT: Final = 46
"""Guest-physical addresses with this bit are those of no page: a walk from a CR3 with reserved bits leads there."""


class TlbFills:
    """Who fills the TLB of one CPU. It must live as long as the CPU runs."""

    __slots__ = ("_hooks", "_kept", "_memory", "_slabs", "_words")

    def __init__(self, cpu: CpuMemory, memory: HostMemory) -> None:
        """The CPU fills it itself until `start`."""
        addresses = [libunicorn.function_address(name) for name in _FUNCTIONS]
        self._memory: Final = ctypes.create_string_buffer(8 * (_STACK + _STACK_WORDS))
        words = self._words = memoryview(self._memory).cast("B").cast("Q")
        self._hooks = None if NATIVE is None or None in addresses else layout.tlb_hooks(cpu, addresses[0] or 0)
        self._slabs: Structure | None = None
        self._kept: Final[dict[int, object]] = {}
        """What slabs refer to, by the places of the slabs."""
        if self._hooks is not None:
            words[_ORIGINAL], words[_SET_PAGE], words[_SET_DIRTY] = (found or 0 for found in addresses)
            words[_STATE], words[_MEMORY], words[_SIZE] = cpu.address, memory.address, memory.size
            self._hooks.user_pointer.value = ctypes.addressof(self._memory)

    def start(self) -> None:
        if self._hooks is not None:
            assert NATIVE is not None
            self._hooks.tlb_fill.value = address_of(NATIVE.kev_fill_tlb)

    def stop(self) -> None:
        """The CPU fills it itself."""
        if self._hooks is not None:
            self._hooks.tlb_fill.value = self._words[_ORIGINAL]

    @property
    def available(self) -> bool:
        return self._hooks is not None

    def renew(self, flush: Callable[[], None]) -> None:
        """`flush` empties the CPU's TLB. It has as many entries then as that of a new CPU, and grows when that would.

        A guest that changes a table without INVLPG can find out how many there are.
        """
        flush()
        hooks = self._hooks
        if hooks is None:
            return
        while any(mask.value != layout.TLB_MASK for mask in hooks.masks):
            hooks.in_use.value = (1 << _MODES) - 1
            for window in hooks.windows:
                window[:] = _AN_EXPIRED_WINDOW
            flush()
        for window in hooks.windows:
            window[:] = _A_NEW_WINDOW
        self._words[_EMPTIED:_STACK] = _NEVER_EMPTIED

    # Pages that are there when they are touched.

    def offer(self, gpa: int, entry: int, pages: Sequence[AlikePages], states: bytearray) -> bool:
        """Lets those of `pages`, within the 2 MiB at `gpa`, that are Absent be Present when they are touched.

        They are in the order of their addresses. `entry` is the nested one of the first of the 2 MiB, and `states` are of all.
        False if that is not possible.
        """
        if self._hooks is None:
            return False
        if self._slabs is None:
            self._slabs = Structure(_SLAB_WORDS * _MOST_SLABS)
            system = ctypes.CDLL(None)
            self._words[_CLOCK], self._words[_READ] = address_of(system.clock_gettime), address_of(system.pread)
        number = gpa >> _SLAB_SHIFT
        place = number % _MOST_SLABS
        runs = array("Q")
        for run in pages:
            runs.extend((run.numbers.start, run.numbers.stop, 0 if run.file is None else run.file.buffer_info()[0], run.offset))
        shared = (ctypes.c_char * len(states)).from_buffer(states)
        self._kept[place] = shared, runs, pages
        first = place * _SLAB_WORDS
        values = (number + 1, entry, ctypes.addressof(shared), runs.buffer_info()[0], len(pages))
        self._slabs.words[first : first + _SLAB_WORDS] = memoryview(array("Q", values))
        return True

    def withdraw(self) -> None:
        """Every page is asked for again."""
        if self._slabs is not None:
            for place in self._kept:
                self._slabs.words[place * _SLAB_WORDS + _NUMBER] = 0
            self._kept.clear()

    def take_offers(self, taken: bool) -> None:
        """What was offered is used in the slices that begin, or every page is asked for there."""
        self._words[_SLABS] = self._slabs.address if taken and self._slabs is not None else 0

    @property
    def last_cr3(self) -> tuple[int, int]:
        """What CR3 was last without reserved bits, and what has been loaded since, if a walk has led nowhere; else 0."""
        return self._words[_CR3], self._words[_REFUSED_CR3]

    @property
    def stack(self) -> Sequence[int]:
        """The callers' part of the host's stack when the CPU last fetched from an address that is not canonical."""
        return self._words[_STACK:]

    @property
    def filled(self) -> int:
        """How many pages were made Present by that."""
        return self._words[_FILLED]

    def expect_alias(self, bit: int) -> None:
        """Stores to physical addresses with this bit need not be looked at from now on."""
        self._words[_ALIAS] = bit
