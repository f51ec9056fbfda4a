"""Breakpoints and watchpoints, and the guest's own data breakpoints: hooks of the emulated CPU that end a slice.

While there are any, code is counted: only such code can be left before its next instruction. Memory, page tables and debug
registers stay the guest's own.

The emulated CPU tells of an access by its host-physical address. So a watched linear address is translated, and again when that may
have changed: the guest writes to one of the table entries on the way, to CR0, CR3 or CR4, or a page was loaded.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from kev.addressing import PAGE_SIZE, Gva, page_floor, page_offset
from kev.engine.amdv.decode import LONGEST_INSTRUCTION, is_repeated
from kev.engine.amdv.host import DATA_ALIAS
from kev.engine.amdv.intercepts import Intercepts
from kev.engine.amdv.libunicorn import WRITE, EmulatedCpu, Hook
from kev.engine.amdv.linear import LinearMemory
from kev.engine.amdv.slice import Slice
from kev.engine.amdv.vcpu import AmdvVcpu, Event
from kev.exits import Access, Breakpoint, Exit, GuestException, PreemptionTimer, Watchpoint
from kev.x86 import DEBUG

_LARGEST_ACCESS: Final = 16
_ENTRY: Final = 8
_ALL_HITS: Final = 0xF
"""B0 to B3 in DR6."""


class _Watched(NamedTuple):
    """Watched bytes, all in one page."""

    hpa: range
    """Where they lie; if `accesses` are of the page before, where they would if the pages lay one behind the other."""
    gva: int
    """The linear address of the first."""
    access: Access
    accesses: range
    """Where accesses begin that may reach them."""
    data_breakpoint: int | None
    """The number of the guest's own breakpoint; None if it is the debugger that watches."""


class DebugStops:
    """Where a debugger wants vCPUs to stop."""

    __slots__ = (
        "_breakpoints",
        "_data_hits",
        "_entries",
        "_hit",
        "_intercepts",
        "_linear",
        "_passed",
        "_slice",
        "_uc",
        "_watched",
        "_watches",
        "_watchpoints",
    )

    def __init__(self, uc: EmulatedCpu, slice: Slice, linear: LinearMemory, intercepts: Intercepts) -> None:
        self._uc: Final = uc
        self._slice: Final = slice
        self._linear: Final = linear
        self._intercepts: Final = intercepts
        self._breakpoints: Final[dict[int, Hook]] = {}
        self._watchpoints: tuple[tuple[range, Access], ...] = ()
        self._watched: tuple[_Watched, ...] = ()
        self._entries: frozenset[int] = frozenset()
        """Host-physical addresses of the table entries that lead to what is watched."""
        self._watches: Final[list[Hook]] = []
        self._hit: Watchpoint | None = None
        self._data_hits = 0
        """The guest's data breakpoints that an access of this slice has met, as bits of DR6."""
        self._passed = 0
        """Instructions executed at the breakpoint that the slice began at: more than one if it repeats itself."""

    # What a debugger wants.

    def set_breakpoints(self, addresses: frozenset[int]) -> None:
        for address in self._breakpoints.keys() - addresses:
            self._uc.remove(self._breakpoints.pop(address))
        for address in addresses - self._breakpoints.keys():
            self._breakpoints[address] = self._uc.on_instruction(address, self._on_instruction)
        self._uc.flush_code()

    def set_watchpoints(self, watchpoints: Sequence[tuple[range, Access]]) -> None:
        self._watchpoints = tuple(watchpoints)
        self._intercepts.watch_address_space(bool(watchpoints))
        if not watchpoints:
            self._watch((), frozenset())

    # While a vCPU runs.

    def begin(self, vcpu: AmdvVcpu) -> None:
        """A slice of `vcpu` is about to run."""
        self._hit = None
        self._data_hits, vcpu.held_data_hits = vcpu.held_data_hits, 0
        if not vcpu.interrupt_shadow:
            self._raise_data_breakpoints(vcpu)
        self._passed = 0
        self.look_again(vcpu)

    @property
    def holds_back(self) -> bool:
        """The slice that has begun is of the one instruction behind MOV SS or POP SS, and then come the data breakpoints of those.

        Intel SDM vol. 3, "Masking exceptions and interrupts when switching stacks".
        """
        return bool(self._data_hits)

    def look_again(self, vcpu: AmdvVcpu) -> None:
        """What is watched may lie elsewhere now. For callbacks that no translated code waits for."""
        if not self._watchpoints and not vcpu.data_breakpoints and not self._watches:
            return
        self._intercepts.watch_address_space(bool(self._watchpoints or vcpu.data_breakpoints))
        watched: list[_Watched] = []
        entries: set[int] = set()
        of_debugger = [(addresses, access, None) for addresses, access in self._watchpoints]
        of_guest = [(addresses, access, number) for number, addresses, access in vcpu.data_breakpoints]
        for addresses, access, number in (*of_debugger, *of_guest):
            for gva, length in _by_page(addresses):
                frame, path = self._linear.frame_and_entries(vcpu, gva)
                entries.update(path)
                if frame is not None:
                    start = frame | page_offset(gva)
                    accesses = range(max(frame, start - _LARGEST_ACCESS + 1), start + length)
                    watched.append(_Watched(range(start, start + length), gva, access, accesses, number))
                if page_offset(gva) >= _LARGEST_ACCESS:
                    continue
                frame, path = self._linear.frame_and_entries(vcpu, page_floor(gva) - 1)
                entries.update(path)
                if frame is not None:
                    end = frame + PAGE_SIZE
                    start = end + page_offset(gva)
                    accesses = range(end - _LARGEST_ACCESS + 1, end)
                    watched.append(_Watched(range(start, start + length), gva, access, accesses, number))
        self._watch(tuple(watched), frozenset(entries))

    def outcome(self, vcpu: AmdvVcpu, exit: Exit) -> Exit:
        """What a slice that has ended with `exit` comes to."""
        executed = self._slice.executed
        if type(exit) is PreemptionTimer:
            # STI accesses no memory: it is MOV SS or POP SS that has met one where interrupts are held back.
            if not vcpu.interrupt_shadow:
                self._raise_data_breakpoints(vcpu)
            if self._hit is not None:
                exit = self._hit
            elif executed and vcpu.event is None and vcpu.unpushed is None:
                address = vcpu.instruction_address
                if address in self._breakpoints and not self._goes_on(vcpu, address, executed):
                    exit = Breakpoint(Gva(address))
        vcpu.held_data_hits, self._data_hits = self._data_hits, 0
        if type(exit) is Breakpoint:
            vcpu.breakpoint = exit.gva
        elif executed > self._passed:
            vcpu.breakpoint = None
        return exit

    def _raise_data_breakpoints(self, vcpu: AmdvVcpu) -> None:
        if self._data_hits and vcpu.event is None:
            self.note_data_breakpoints(vcpu)
            vcpu.event = Event(GuestException(DEBUG))

    def note_data_breakpoints(self, vcpu: AmdvVcpu) -> None:
        """A #DB is about to be raised: DR6 says which data breakpoints it is for."""
        if self._data_hits:
            vcpu.dr6 = vcpu.dr6 & ~_ALL_HITS | self._data_hits
            self._data_hits = 0

    def _on_instruction(self, _uc: int, address: int, _size: int, _data: object) -> None:
        vcpu = self._slice.vcpu
        if vcpu is None or not vcpu.in_guest_mode:
            return
        executed = self._slice.instructions() - 1
        if self._goes_on(vcpu, address, executed):
            self._passed = executed + 1
            return
        self._slice.do_not_count()
        self._slice.stop(vcpu, Breakpoint(Gva(address)))

    def _goes_on(self, vcpu: AmdvVcpu, address: int, executed: int) -> bool:
        """The instruction at `address` is the one that the slice began with, and has not been left since."""
        if address != vcpu.breakpoint or executed > self._passed:
            return False
        return not executed or is_repeated(self._linear.peek(vcpu, address, LONGEST_INSTRUCTION))

    def _on_access(self, _uc: int, kind: int, address: int, size: int, _value: int, _data: object) -> None:
        address &= ~DATA_ALIAS
        access = Access.WRITE if kind == WRITE else Access.READ
        before = self._hit, self._data_hits
        self._look_for_hits(address, size, access)
        if before != (self._hit, self._data_hits):
            self._slice.end_soon()
        if access is Access.WRITE and not self._entries.isdisjoint(range(address & -_ENTRY, address + size, _ENTRY)):
            self._slice.leave_behind()

    def _look_for_hits(self, address: int, size: int, access: Access) -> None:
        for watched in self._watched:
            first = max(address, watched.hpa.start)
            if address not in watched.accesses or not watched.access & access or first >= min(address + size, watched.hpa.stop):
                continue
            if watched.data_breakpoint is not None:
                self._data_hits |= 1 << watched.data_breakpoint
            elif self._hit is None:
                self._hit = Watchpoint(Gva(watched.gva + first - watched.hpa.start), size, access)

    def _watch(self, watched: tuple[_Watched, ...], entries: frozenset[int]) -> None:
        if watched == self._watched and entries == self._entries:
            return
        for hook in self._watches:
            self._uc.remove(hook)
        self._watches.clear()
        self._watched, self._entries = watched, entries
        for accesses in (*(piece.accesses for piece in watched), *map(_accesses_to_entry, entries)):
            for alias in (0, DATA_ALIAS):
                hook = self._uc.on_access(accesses.start | alias, accesses.stop - 1 | alias, self._on_access)
                self._watches.append(hook)
        self._uc.flush_code()


def _by_page(addresses: range) -> list[tuple[int, int]]:
    """The pieces of a range that lie in one page each: first address and length."""
    starts = [addresses.start, *range(page_floor(addresses.start) + PAGE_SIZE, addresses.stop, PAGE_SIZE)]
    return [(start, min(addresses.stop, page_floor(start) + PAGE_SIZE) - start) for start in starts]


def _accesses_to_entry(hpa: int) -> range:
    return range(max(page_floor(hpa), hpa - _LARGEST_ACCESS + 1), hpa + _ENTRY)
