"""The life of a guest page, as data.

A page is Absent until somebody claims it, Loading while its loader runs, and Present from when it is mapped until it is evicted.
There is no way from Absent to Present: nobody runs on a page that was not filled. There is no way from Loading to Loading: only
one claim succeeds, so that a loader runs once however many vCPUs want the page. What waiting there is, `kev.pager.kernel` adds.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Final, TypeAlias

from kev.addressing import PAGE_SHIFT, PAGE_SIZE

_CHUNK_SHIFT: Final = 21
_CHUNK_SIZE: Final = 1 << _CHUNK_SHIFT
_CHUNK_PAGES: Final = _CHUNK_SIZE >> PAGE_SHIFT
_INDEX: Final = _CHUNK_PAGES - 1
"""The bits of a page's number that are its index in its chunk."""
_ABSENT: Final = b"\0"
_PRESENT: Final = 2
_NOTHING: Final = bytes(_CHUNK_PAGES)
_LOADING_IS_ABSENT: Final = bytes.maketrans(b"\1", b"\0")

SavedStates: TypeAlias = Mapping[int, bytes]
"""The states of all pages at one moment: see `PageStates.save`."""


class PageState(IntEnum):
    """What a page is."""

    ABSENT = 0
    LOADING = 1
    PRESENT = 2


class PageEvent(IntEnum):
    """What happens to a page."""

    CLAIM = 0
    """Somebody is going to load it."""
    PUBLISH = 1
    """It is filled and mapped."""
    FAIL = 2
    """Its loader said so or raised."""
    ABANDON = 3
    """Its load was cancelled."""
    EVICT = 4
    """It is unmapped, and its frame is empty."""


TRANSITIONS: Final[Mapping[PageState, Mapping[PageEvent, PageState]]] = {
    PageState.ABSENT: {PageEvent.CLAIM: PageState.LOADING},
    PageState.LOADING: {
        PageEvent.PUBLISH: PageState.PRESENT,
        PageEvent.FAIL: PageState.ABSENT,
        PageEvent.ABANDON: PageState.ABSENT,
    },
    PageState.PRESENT: {PageEvent.EVICT: PageState.ABSENT},
}
"""All there are. Everything else is a bug."""


class IllegalTransition(AssertionError):
    """A page got an event that its state does not allow."""

    def __init__(self, page: int, state: PageState, event: PageEvent) -> None:
        super().__init__(f"page {page:#x} is {state.name}: {event.name} is not possible")
        self.page = page
        self.state = state
        self.event = event


class PageStates:
    """The state of every page, by its address. Costs a byte a page, in chunks of 2 MiB, where a page was ever claimed."""

    __slots__ = ("_chunks",)

    def __init__(self) -> None:
        self._chunks: Final[dict[int, bytearray]] = {}

    def __getitem__(self, page: int) -> PageState:
        chunk = self._chunks.get(page >> _CHUNK_SHIFT)
        return _STATES[chunk[page >> PAGE_SHIFT & _INDEX]] if chunk is not None else PageState.ABSENT

    def advance(self, page: int, event: PageEvent) -> None:
        """IllegalTransition if `page` is in a state that `event` cannot happen in; nothing has changed then."""
        chunk = self._chunks.get(page >> _CHUNK_SHIFT) or self._new_chunk(page)
        index = page >> PAGE_SHIFT & _INDEX
        state = chunk[index]
        following = _FOLLOWING[state][event]
        if following is None:
            raise IllegalTransition(page, PageState(state), event)
        chunk[index] = following

    def advance_to_present(self, page: int) -> None:
        """CLAIM and PUBLISH at once, of a page that takes no filling. IllegalTransition if `page` is not Absent."""
        chunk = self._chunks.get(page >> _CHUNK_SHIFT) or self._new_chunk(page)
        index = page >> PAGE_SHIFT & _INDEX
        if chunk[index]:
            raise IllegalTransition(page, PageState(chunk[index]), PageEvent.CLAIM)
        chunk[index] = _PRESENT

    def states_around(self, page: int) -> bytearray:
        """Those of the aligned 2 MiB around `page`, live: whoever changes them goes from ABSENT to PRESENT, and maps the page."""
        return self._chunks.get(page >> _CHUNK_SHIFT) or self._new_chunk(page)

    def all_present_around(self, addresses: range) -> bool:
        """Whether all pages of the aligned 2 MiB around each of these are Present."""
        for address in addresses:
            chunk = self._chunks.get(address >> _CHUNK_SHIFT)
            if chunk is None or chunk.count(_PRESENT) != _CHUNK_PAGES:
                return False
        return True

    def advance_run(self, page: int, count: int, event: PageEvent) -> None:
        """The same for `count` pages from `page` on, all in one chunk. IllegalTransition if they are not all in one such state."""
        chunk = self._chunks.get(page >> _CHUNK_SHIFT) or self._new_chunk(page)
        first = page >> PAGE_SHIFT & _INDEX
        state = chunk[first]
        following = _FOLLOWING[state][event]
        if following is None:
            raise IllegalTransition(page, PageState(state), event)
        if chunk.count(state, first, first + count) != count:
            odd = next(other for other in range(page, page + count * PAGE_SIZE, PAGE_SIZE) if self[other] != state)
            raise IllegalTransition(odd, self[odd], event)
        chunk[first : first + count] = bytes((following,)) * count

    def absent_run(self, page: int, start: int, end: int) -> range:
        """The Absent pages of [start, end) around `page`, without a gap and within one chunk; none if it is not Absent itself."""
        base = page & -_CHUNK_SIZE
        start, end = max(start, base), min(end, base + _CHUNK_SIZE)
        chunk = self._chunks.get(page >> _CHUNK_SHIFT)
        if chunk is not None:
            below = chunk[start - base >> PAGE_SHIFT : page - base >> PAGE_SHIFT]
            above = chunk[page - base >> PAGE_SHIFT : end - base >> PAGE_SHIFT]
            absent_above = len(above) - len(above.lstrip(_ABSENT))
            absent_below = len(below) - len(below.rstrip(_ABSENT)) if absent_above else 0
            start, end = page - (absent_below << PAGE_SHIFT), page + (absent_above << PAGE_SHIFT)
        return range(start, end, PAGE_SIZE)

    def runs(self, state: PageState) -> Iterator[range]:
        """The pages in a state other than Absent, in the order of their addresses, those that follow each other together."""
        start = end = 0
        for number in sorted(self._chunks):
            chunk, base = self._chunks[number], number << _CHUNK_SHIFT
            index = chunk.find(state)
            while index >= 0:
                length = len(chunk) - index - len(chunk[index:].lstrip(bytes((state,))))
                if base + (index << PAGE_SHIFT) != end:
                    if end > start:
                        yield range(start, end, PAGE_SIZE)
                    start = base + (index << PAGE_SHIFT)
                end = base + (index + length << PAGE_SHIFT)
                index = chunk.find(state, index + length)
        if end > start:
            yield range(start, end, PAGE_SIZE)

    def save(self) -> SavedStates:
        """All states as they are now, but that nothing is Loading: what was, is Absent."""
        return {number: bytes(chunk).translate(_LOADING_IS_ABSENT) for number, chunk in self._chunks.items()}

    def load(self, saved: SavedStates) -> None:
        """Makes all states what they were. Whatever that means for the pages themselves has been done."""
        for number, chunk in self._chunks.items():
            chunk[:] = saved.get(number, _NOTHING)
        for number in saved.keys() - self._chunks.keys():
            self._chunks[number] = bytearray(saved[number])

    @property
    def present(self) -> int:
        """How many pages are Present, those of devices among them."""
        return sum(chunk.count(PageState.PRESENT) for chunk in self._chunks.values())

    def differing(self, saved: SavedStates) -> Iterator[int]:
        """The pages that are Present now, but not in `saved`, or the other way round. None may be Loading."""
        for number in self._chunks.keys() | saved.keys():
            now, then = self._chunks.get(number, _NOTHING), saved.get(number, _NOTHING)
            if now == then:
                continue
            difference = (int.from_bytes(now, "little") ^ int.from_bytes(then, "little")).to_bytes(_CHUNK_PAGES, "little")
            index = difference.find(PageState.PRESENT)
            while index >= 0:
                yield (number << _CHUNK_SHIFT) + (index << PAGE_SHIFT)
                index = difference.find(PageState.PRESENT, index + 1)

    def _new_chunk(self, page: int) -> bytearray:
        chunk = self._chunks[page >> _CHUNK_SHIFT] = bytearray(_CHUNK_PAGES)
        return chunk


def state_in(saved: SavedStates, page: int) -> PageState:
    """What a page was."""
    chunk = saved.get(page >> _CHUNK_SHIFT)
    return PageState.ABSENT if chunk is None else _STATES[chunk[page >> PAGE_SHIFT & _INDEX]]


def with_present(saved: SavedStates, pages: Iterable[int]) -> SavedStates:
    """The same states, but that `pages` are Present."""
    chunks: dict[int, bytearray] = {}
    for page in pages:
        number = page >> _CHUNK_SHIFT
        if number not in chunks:
            chunks[number] = bytearray(saved.get(number, _NOTHING))
        chunks[number][page >> PAGE_SHIFT & _INDEX] = PageState.PRESENT
    return {**saved, **{number: bytes(chunk) for number, chunk in chunks.items()}} if chunks else saved


_STATES: Final = tuple(PageState)
_FOLLOWING: Final = tuple(tuple(TRANSITIONS[state].get(event) for event in PageEvent) for state in _STATES)
"""By state and event."""
