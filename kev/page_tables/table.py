"""A nested page table: one radix tree in host-physical memory, whatever the format of its entries.

The tables in memory are the only record of what is mapped; nothing is kept beside them but where each last-level table lies, and
which pages must not be written, whenever they are mapped. After a page was unmapped, protected or remapped the engine must forget
what it cached of it (`Engine.invalidate`).
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

from kev.addressing import PAGE_SIZE, Gpa, Hpa
from kev.host_memory import HostMemory
from kev.named_tuple import NamedTuple
from kev.page_tables.errors import AddressOutOfRange, AlreadyMapped, NotExpressible, NotPresent, UnalignedAddress
from kev.page_tables.format import (
    ADDRESS_BITS,
    ADDRESS_MASK,
    LARGE_PAGE,
    LEVELS,
    PHYSICAL_ADDRESS_BITS,
    WRITABLE,
    WRITE_TAKEN,
    EntryFormat,
    is_leaf,
    level_shift,
    unprotected,
)
from kev.page_tables.mapping import MappedRange, Mapping, MemoryType, PageSize, Permissions

_INDEX: Final = 511
_WRITE_BITS: Final = WRITABLE | WRITE_TAKEN
_ENTRIES: Final = 512
_LARGEST_WORD: Final = (1 << 64) - 1
_EMPTY_TABLE: Final = bytes(PAGE_SIZE)
_EACH: Final = int.from_bytes((1).to_bytes(8, "little") * 512, "little")
"""A table whose entries are 1, as one number."""
_COUNTING: Final = int.from_bytes(array("Q", range(512)).tobytes(), "little")
"""A table whose entries are 0 to 511, as one number."""
_ALL_WRITABLE: Final = int.from_bytes(WRITABLE.to_bytes(8, "little") * 512, "little")
"""A table whose entries have this bit alone, as one number."""
_TAKEN_SHIFT: Final = WRITE_TAKEN.bit_length() - WRITABLE.bit_length()


class Leaf(NamedTuple):
    """A leaf as it stands in its table."""

    gpa: int
    entry: int
    level: int
    permission_bits: int
    """What every level on the way to it permits."""


class Run(NamedTuple):
    """Leaves that are neighbours in one table, each of which maps the page behind that of the one before, and is else the same."""

    first: Leaf
    length: int
    """How many they are."""

    @property
    def end(self) -> int:
        """The first guest-physical address behind them."""
        return self.first.gpa + (self.length << level_shift(self.first.level))


def equal_neighbours(table: memoryview, step: int) -> Iterator[tuple[int, int]]:
    """Cuts a table of 512 words into runs, (index, length): entries that are all 0, or each `step` more than the one before.

    Whole tables of one kind are found at once. An entry that is followed by another kind is a run of its own.
    """
    first = table[0]
    # With a first entry so large, the last one would be no word.
    could_count = first <= _LARGEST_WORD - (_ENTRIES - 1) * step
    if could_count and table.tobytes() == (_consecutive(first, step) if first else _EMPTY_TABLE):
        yield 0, _ENTRIES
        return
    entries = table.tolist()
    start = 0
    for index in range(1, _ENTRIES):
        if entries[index] != (entries[index - 1] + step if entries[start] else 0):
            yield start, index - start
            start = index
    yield start, _ENTRIES - start


def _consecutive(first: int, step: int) -> bytes:
    """A table whose entries are `first` and what follows in steps: they are added as one number, which takes a few microseconds."""
    return (first * _EACH + _counting(step)).to_bytes(PAGE_SIZE, "little")


@lru_cache(maxsize=LEVELS)
def _counting(step: int) -> int:
    """A table whose entries are 0 and what follows in steps, as one number."""
    return step * _COUNTING


class PageTable:
    """Maps guest-physical pages to host-physical ones. Addresses that are not page-aligned are refused (`UnalignedAddress`)."""

    __slots__ = (
        "_address_mask",
        "_device_flags",
        "_leaf_tables",
        "_page_flags",
        "_present",
        "_read_only",
        "_words",
        "format",
        "memory",
        "root",
        "tables",
    )

    def __init__(self, memory: HostMemory, format: EntryFormat, found: tuple[Hpa, int] | None = None) -> None:
        """An empty table in `memory`, of one page; or the one that is there already: its root, and of how many pages it is."""
        self.memory: Final = memory
        self.format: Final = format
        root, tables = found or (memory.allocate(), 1)
        self.root: Final = root
        """Where the level 4 table lies: what the engine is told."""
        self.tables = tables
        """The pages of host-physical memory that the tree consists of."""
        self._words: Final = memory.words
        self._present: Final = format.present
        self._page_flags = tuple(_page_flags(format, permissions) for permissions in range(8))
        self._device_flags: Final = format.leaf_flags(Permissions.RWX, MemoryType.UC, PageSize.SIZE_4K)
        self._address_mask = ADDRESS_MASK
        self._leaf_tables: Final[dict[int, int]] = {}  # gpa >> 21 -> word index of the level 1 table
        self._read_only: Final[set[int]] = set()

    def map_page(self, gpa: int, hpa: int, permissions: int = Permissions.RWX) -> None:
        """Maps one 4 KiB page of write-back memory: the quick form of `map`, for page violations.

        The caller vouches that both addresses are page-aligned and in range. AlreadyMapped; NotExpressible.
        """
        flags = self._page_flags[permissions] or self._refused_flags(permissions)
        table = self._leaf_tables.get(gpa >> 21)
        if table is None:
            table = self._leaf_table(gpa)
        index = table + (gpa >> 12 & 511)
        if self._words[index] & self._present:
            raise self._already_mapped(gpa)
        self._words[index] = hpa | flags
        if self._read_only and gpa in self._read_only:
            self._words[index] &= ~_WRITE_BITS

    def page_entry(self, hpa: int) -> int:
        """What `map_page` writes, with all permissions."""
        flags = self._page_flags[Permissions.RWX]
        assert flags is not None
        return hpa | flags

    def map_pages(self, gpa: int, hpa: int, count: int, permissions: int = Permissions.RWX) -> None:
        """The same for `count` pages in a row on both sides. The caller also vouches that one level 1 table holds them all."""
        flags = self._page_flags[permissions] or self._refused_flags(permissions)
        table = self._leaf_tables.get(gpa >> 21)
        if table is None:
            table = self._leaf_table(gpa)
        index = table + (gpa >> 12 & 511)
        for offset, entry in enumerate(self._words[index : index + count]):
            if entry & self._present:
                raise self._already_mapped(gpa + offset * PAGE_SIZE)
        first = hpa | flags
        self._words[index : index + count] = memoryview(array("Q", range(first, first + count * PAGE_SIZE, PAGE_SIZE)))
        if self._read_only:
            for page in self._read_only.intersection(range(gpa, gpa + count * PAGE_SIZE, PAGE_SIZE)):
                self._words[index + (page - gpa) // PAGE_SIZE] &= ~_WRITE_BITS

    def map_device_page(self, gpa: int, hpa: int) -> None:
        """Maps one 4 KiB page of uncacheable registers, in place of what is mapped there. All is permitted of it.

        The caller vouches that both addresses are page-aligned and in range.
        """
        table = self._leaf_tables.get(gpa >> 21)
        if table is None:
            table = self._leaf_table(gpa)
        self._words[table + (gpa >> 12 & 511)] = hpa | self._device_flags

    def map(
        self,
        gpa: Gpa,
        hpa: Hpa,
        permissions: Permissions = Permissions.RWX,
        size: PageSize = PageSize.SIZE_4K,
        memory_type: MemoryType = MemoryType.WB,
    ) -> None:
        """Maps one page. AlreadyMapped if any byte of it is; NotExpressible if the format cannot say it."""
        _check_range(gpa, hpa, size, size)
        entry = hpa | self.format.leaf_flags(permissions, memory_type, size)
        index = self._entry_index(gpa, size.level)
        if self._words[index] & self._present:
            raise self._already_mapped(gpa)
        self._words[index] = entry

    def map_range(
        self,
        gpa: Gpa,
        hpa: Hpa,
        length: int,
        permissions: Permissions = Permissions.RWX,
        memory_type: MemoryType = MemoryType.WB,
        largest: PageSize = PageSize.SIZE_1G,
    ) -> None:
        """Maps `length` bytes with the largest pages that alignment and `largest` allow. AlreadyMapped before anything changes."""
        _check_range(gpa, hpa, length, PageSize.SIZE_4K)
        for taken in self.leaves(gpa, gpa + length):
            raise self._already_mapped(taken.gpa)
        for start, stop, size in _pieces(gpa, gpa + length, hpa - gpa, largest):
            self._fill(start, stop, start + hpa - gpa, size, self.format.leaf_flags(permissions, memory_type, size))

    def add_to_pages(self, bits: int) -> None:
        """Sets address `bits` in the entry of every 4 KiB page that all is permitted of, those mapped from now on included.

        For an engine that reaches the same memory by two host-physical addresses: what this table says of its pages stays the same.
        """
        self._address_mask &= ~bits
        everything = Permissions.RWX.value
        flags = list(self._page_flags)
        usual = flags[everything]
        assert usual is not None
        for gpa, entry, level, _ in list(self.leaves()):
            if level == 1 and unprotected(entry) & ~ADDRESS_MASK & ~self.format.accessed_dirty == usual:
                index = self.leaf_index(gpa)
                assert index is not None
                self._words[index] |= bits
        flags[everything] = usual | bits
        self._page_flags = tuple(flags)

    def protect_writes(self) -> None:
        """Takes the permission to write from everything that is mapped now; `permit_writes` gives it back, page by page.

        Written are the entries of the root only: what a table permits and what its entries permit both count, and an entry that is
        used hands its protection down. What is mapped from now on is not protected. The engine must forget all that it cached.
        """
        self._take_write(self.root)
        self._leaf_tables.clear()

    def permit_writes(self, gpa: int) -> bool:
        """Gives the 4 KiB page at `gpa` back the permission that `protect_writes` has taken; False if it has not.

        A large page around it is split. What the engine cached permits less, so that it need not forget anything.
        """
        entries = self._walk(gpa)
        if not entries or not entries[-1] & (WRITABLE | WRITE_TAKEN) or not any(entry & WRITE_TAKEN for entry in entries):
            return False
        index = self._path(gpa, PageSize.SIZE_4K)[-1]
        self._words[index] = unprotected(self._words[index])
        return True

    def map_protected_page(self, gpa: int, hpa: int) -> None:
        """`map_page` with all permissions, of which `protect_writes` has taken one already."""
        self.map_page(gpa, hpa)
        index = self._leaf_tables[gpa >> 21] + (gpa >> 12 & _INDEX)
        if self._words[index] & WRITABLE:
            self._words[index] ^= _WRITE_BITS

    def forbid_writes(self, gpa: int) -> None:
        """The 4 KiB page at `gpa` must not be written, whenever it is mapped by `map_page` and its like, until `allow_writes`.

        `permit_writes` makes no difference. The engine must forget what it cached of the page.
        """
        self._read_only.add(gpa)
        if self.leaf_index(gpa) is not None:
            self._words[self._path(gpa, PageSize.SIZE_4K)[-1]] &= ~_WRITE_BITS

    def allow_writes(self, gpa: int) -> bool:
        """Ends `forbid_writes`; False if the page may be written already. One that is mapped has to be given the permission by
        `permit_writes`, so that whoever keeps what pages held hears of it."""
        if gpa not in self._read_only:
            return False
        self._read_only.remove(gpa)
        if self.leaf_index(gpa) is not None:
            self._words[self._path(gpa, PageSize.SIZE_4K)[-1]] |= WRITE_TAKEN
        return True

    def unmap_page(self, gpa: int) -> bool:
        """Removes a 4 KiB page, and leaves its tables where they are; False if there is none.

        The quick form of `unmap`, for pages that will come again.
        """
        index = self.leaf_index(gpa)
        if index is None:
            return False
        self._words[index] = 0
        return True

    def unmap(self, gpa: Gpa, size: PageSize = PageSize.SIZE_4K) -> Mapping:
        """Removes one page, and the tables that this empties; returns what it was. A larger page around it is split first.

        NotPresent if nothing is mapped, or smaller pages are.
        """
        self._covering_leaf(gpa, size)
        path = self._path(gpa, size)
        mapping = self._mapping(gpa, [self._words[index] for index in path])
        self._words[path.pop()] = 0
        self._free_empty_tables(gpa, path)
        return mapping

    def protect(self, gpa: Gpa, permissions: Permissions, size: PageSize = PageSize.SIZE_4K) -> Mapping:
        """Changes what may be done with one page; returns what it was. A larger page around it is split first.

        NotPresent if nothing is mapped, or smaller pages are; NotExpressible if the format cannot say it.
        """
        covering = self._covering_leaf(gpa, size)
        flags = self.format.leaf_flags(permissions, self.format.memory_type(covering), size)
        path = self._path(gpa, size)
        entries = [self._words[index] for index in path]
        self._words[path[-1]] = entries[-1] & (ADDRESS_MASK | self.format.accessed_dirty) | flags
        return self._mapping(gpa, entries)

    def remap(
        self,
        gpa: Gpa,
        hpa: Hpa,
        permissions: Permissions = Permissions.RWX,
        size: PageSize = PageSize.SIZE_4K,
        memory_type: MemoryType = MemoryType.WB,
    ) -> Mapping:
        """Lets one page that is mapped lie elsewhere; returns what it was. A larger page around it is split first.

        NotPresent if nothing is mapped, or smaller pages are; NotExpressible if the format cannot say it.
        """
        _check_range(gpa, hpa, size, size)
        entry = hpa | self.format.leaf_flags(permissions, memory_type, size)
        self._covering_leaf(gpa, size)
        path = self._path(gpa, size)
        mapping = self._mapping(gpa, [self._words[index] for index in path])
        self._words[path[-1]] = entry
        return mapping

    def remap_page(self, gpa: Gpa, hpa: Hpa, permissions: int) -> None:
        """`remap` for one 4 KiB page of write-back memory: quick where its table is known. Raises as `remap`."""
        index, flags = self.leaf_index(gpa) if gpa >> 21 in self._leaf_tables else None, self._page_flags[permissions]
        if index is None or flags is None or gpa & (PAGE_SIZE - 1) or hpa & (PAGE_SIZE - 1):
            self.remap(gpa, hpa, Permissions(permissions))
        else:
            self._words[index] = hpa | flags

    def walk(self, gpa: int) -> Mapping | None:
        """The page that holds a guest-physical address, of whatever size, or None."""
        entries = self._walk(gpa)
        return self._mapping(gpa, entries) if entries else None

    def translate(self, gpa: int, access: int = 0) -> Hpa | None:
        """Where a guest-physical address lies, or None if it is not mapped or not for all of `access` (bits of `Permissions`).

        The quick form of `walk`.
        """
        table = self._leaf_tables.get(gpa >> 21)
        if table is None:
            return self._translate_slowly(gpa, access)
        entry = self._words[table + (gpa >> 12 & 511)]
        if not entry & self._present or access and int(access) & ~self.format.permission_bits(entry):
            return None
        return Hpa(entry & self._address_mask | gpa & 0xFFF)

    def leaf_index(self, gpa: int) -> int | None:
        """Which of `memory.words` is the entry of the 4 KiB page at `gpa`; None if no such page is mapped."""
        table = self._leaf_tables.get(gpa >> 21)
        if table is None:
            entries = self._walk(gpa)
            if len(entries) != LEVELS:
                return None
            table = (entries[-2] & ADDRESS_MASK) >> 3
        index = table + (gpa >> 12 & 511)
        return index if self._words[index] & self._present else None

    def entry_index(self, gpa: int, *, create: bool) -> int | None:
        """Which of `memory.words` is the entry for the 4 KiB page at `gpa`, be it mapped or not.

        Tables on the way to it are made if `create`; else None if one is missing. AlreadyMapped if a large page is mapped there;
        AddressOutOfRange; HostMemoryError.
        """
        _check_range(gpa, 0, PAGE_SIZE, PageSize.SIZE_4K)
        return self._entry_index(gpa, 1) if create or self._has_tables(gpa) else None

    def __iter__(self) -> Iterator[Mapping]:
        """Every page in the order of guest-physical addresses. A page just seen may be protected or remapped meanwhile."""
        for gpa, entry, level, permission_bits in self.leaves():
            yield self._describe(gpa, entry, level, permission_bits)

    def ranges(self) -> Iterator[MappedRange]:
        """The same with consecutive equal pages merged: what a person can read."""
        return merged(self.runs(), self.format)

    def dump(self) -> list[str]:
        """The whole table as lines for a person: addresses, number and size of pages, permissions, memory type."""
        return [str(mapped) for mapped in self.ranges()]

    def leaves(self, start: int = 0, end: int = 1 << ADDRESS_BITS) -> Iterator[Leaf]:
        """The leaves that touch the guest-physical addresses [start, end), in order, undecoded."""
        return self._leaves(self.root, LEVELS, 0, start, end, Permissions.RWX.value)

    def runs(self) -> Iterator[Run]:
        """All leaves in order, undecoded, those of a table that are alike together: quick, however many there are."""
        return self._runs(self.root, LEVELS, 0, Permissions.RWX.value)

    def words_of(self, table: int) -> memoryview:
        """The 512 entries of the table at a host-physical address."""
        return self._words[table >> 3 : (table >> 3) + _ENTRIES]

    def links(self) -> Iterator[tuple[int, int]]:
        """The tables of the tree, each behind that whose entry points to it: level and host-physical address."""
        yield LEVELS, self.root
        yield from self._links(self.root, LEVELS)

    def _leaf_table(self, gpa: int) -> int:
        """The word index of the level 1 table for `gpa`, which is made if need be."""
        if gpa >> ADDRESS_BITS:
            raise AddressOutOfRange("guest-physical address", gpa, PAGE_SIZE, 1 << ADDRESS_BITS)
        table = self._entry_index(gpa, 1) & ~_INDEX
        self._leaf_tables[gpa >> 21] = table
        return table

    def _refused_flags(self, permissions: int) -> int:
        """Raises NotExpressible, by the format's own words."""
        return self.format.leaf_flags(Permissions(permissions), MemoryType.WB, PageSize.SIZE_4K)

    def _entry_index(self, gpa: int, level: int) -> int:
        """The word index of the entry for `gpa` at `level`; tables on the way to it are made."""
        words = self._words
        table: int = self.root
        for upper in range(LEVELS, level, -1):
            index = (table >> 3) + (gpa >> level_shift(upper) & _INDEX)
            entry = words[index]
            if not entry & self._present:
                entry = words[index] = self._new_table()
            elif is_leaf(entry, upper):
                raise self._already_mapped(gpa)
            elif entry & WRITE_TAKEN:
                self._hand_down(index)
            table = entry & ADDRESS_MASK
        return (table >> 3) + (gpa >> level_shift(level) & _INDEX)

    def _has_tables(self, gpa: int) -> bool:
        """Every table on the way to the entry of the 4 KiB page at `gpa` is there, or a large page in its place."""
        table: int = self.root
        for level in range(LEVELS, 1, -1):
            entry = self._words[(table >> 3) + (gpa >> level_shift(level) & _INDEX)]
            if not entry & self._present or is_leaf(entry, level):
                return bool(entry & self._present)
            table = entry & ADDRESS_MASK
        return True

    def _hand_down(self, index: int) -> None:
        """Gives the entry at `index` its permission to write back, and takes it from those of the table that it points to."""
        entry = self._words[index]
        self._take_write(entry & ADDRESS_MASK)
        self._words[index] = unprotected(entry)

    def _take_write(self, table: int) -> None:
        """From every entry of one table that has it."""
        page = self.memory.page(Hpa(table))
        entries = int.from_bytes(page, "little")
        writable = entries & _ALL_WRITABLE
        page[:] = (entries ^ writable | writable << _TAKEN_SHIFT).to_bytes(PAGE_SIZE, "little")

    def _new_table(self) -> int:
        """An entry that points to an empty table."""
        table = self.memory.allocate()
        self.tables += 1
        return table | self.format.table_flags

    def _already_mapped(self, gpa: int) -> AlreadyMapped:
        mapping = self.walk(gpa)
        return AlreadyMapped(gpa, str(mapping) if mapping else "by smaller pages")

    def _fill(self, gpa: int, end: int, hpa: int, size: PageSize, flags: int) -> None:
        """Writes the leaves of [gpa, end), table by table."""
        shift = level_shift(size.level)
        while gpa < end:
            count = min(512 - (gpa >> shift & _INDEX), (end - gpa) >> shift)
            index = self._entry_index(gpa, size.level)
            length = count << shift
            if count == _ENTRIES:
                self.memory.page(Hpa(index << 3))[:] = _consecutive(hpa | flags, size)
            else:
                self._words[index : index + count] = memoryview(array("Q", range(hpa | flags, (hpa | flags) + length, size)))
            gpa += length
            hpa += length

    def _covering_leaf(self, gpa: int, size: PageSize) -> int:
        """The entry of the page, of `size` or larger, that `gpa` lies in; NotPresent if there is none."""
        if gpa % size:
            raise UnalignedAddress("guest-physical address", gpa, size)
        entries = self._walk(gpa)
        if not entries:
            raise NotPresent(gpa, "nothing is mapped there")
        if len(entries) > LEVELS + 1 - size.level:
            raise NotPresent(gpa, f"smaller pages than {size} are mapped there")
        return entries[-1]

    def _path(self, gpa: int, size: PageSize) -> list[int]:
        """The word indices of the entries from the root to the page of `size` at `gpa`; larger pages on the way are split."""
        words = self._words
        path = []
        table: int = self.root
        for level in range(LEVELS, size.level - 1, -1):
            index = (table >> 3) + (gpa >> level_shift(level) & _INDEX)
            path.append(index)
            if level > size.level:
                if is_leaf(words[index], level):
                    self._split(index, level)
                elif words[index] & WRITE_TAKEN:
                    self._hand_down(index)
            table = words[index] & ADDRESS_MASK
        return path

    def _split(self, index: int, level: int) -> None:
        """Replaces a large page by a table of 512 pages of the next smaller size that say the same."""
        entry = self._words[index]
        step = 1 << level_shift(level - 1)
        first = entry & ~LARGE_PAGE if level == 2 else entry
        link = self._new_table()
        table = (link & ADDRESS_MASK) >> 3
        self._words[table : table + 512] = memoryview(array("Q", range(first, first + 512 * step, step)))
        self._words[index] = link

    def _free_empty_tables(self, gpa: int, path: list[int]) -> None:
        """Frees the tables that the entries at `path` point to, from the last one up, as far as they are empty."""
        for index in reversed(path):
            table = Hpa(self._words[index] & ADDRESS_MASK)
            if self.memory.page(table).tobytes() != _EMPTY_TABLE:
                return
            self._leaf_tables.pop(gpa >> 21, None)
            self._words[index] = 0
            self.memory.free(table)
            self.tables -= 1

    def _walk(self, gpa: int) -> list[int]:
        """The entries from the root to the leaf that holds `gpa`; empty if there is none."""
        entries: list[int] = []
        if gpa >> ADDRESS_BITS:
            return entries
        table: int = self.root
        for level in range(LEVELS, 0, -1):
            entry = self._words[(table >> 3) + (gpa >> level_shift(level) & _INDEX)]
            if not entry & self._present:
                return []
            entries.append(entry)
            if is_leaf(entry, level):
                break
            table = entry & ADDRESS_MASK
        return entries

    def _translate_slowly(self, gpa: int, access: int) -> Hpa | None:
        """`translate` where no level 1 table is known yet."""
        entries = self._walk(gpa)
        if not entries or int(access) & ~self._permission_bits(entries):
            return None
        if len(entries) == LEVELS and not any(entry & WRITE_TAKEN for entry in entries[:-1]):
            self._leaf_tables[gpa >> 21] = (entries[-2] & ADDRESS_MASK) >> 3
        offset = (1 << level_shift(LEVELS + 1 - len(entries))) - 1
        return Hpa(entries[-1] & self._address_mask & ~offset | gpa & offset)

    def _permission_bits(self, entries: Sequence[int]) -> int:
        """What all levels together permit."""
        permission_bits = Permissions.RWX.value
        for entry in entries:
            permission_bits &= self.format.permission_bits(entry)
        return permission_bits

    def _mapping(self, gpa: int, entries: Sequence[int]) -> Mapping:
        """What the entries from the root to a leaf say."""
        level = LEVELS + 1 - len(entries)
        return self._describe(gpa & -1 << level_shift(level), entries[-1], level, self._permission_bits(entries))

    def _describe(self, gpa: int, entry: int, level: int, permission_bits: int) -> Mapping:
        size = PageSize(1 << level_shift(level))
        hpa = Hpa(entry & self._address_mask & -size)
        return Mapping(Gpa(gpa), hpa, size, Permissions(permission_bits), self.format.memory_type(entry))

    def _runs(self, table: int, level: int, base: int, permission_bits: int) -> Iterator[Run]:
        """The leaves below one table, which begins at the guest-physical address `base`."""
        shift = level_shift(level)
        entries = self.words_of(table)
        for index, count in equal_neighbours(entries, 1 << shift):
            entry = entries[index]
            if not entry & self._present:
                continue
            if is_leaf(entry, level):
                permitted = permission_bits & self.format.permission_bits(entry)
                yield Run(Leaf(base + (index << shift), entry & ~(ADDRESS_MASK ^ self._address_mask), level, permitted), count)
                continue
            for number, link in enumerate(entries[index : index + count], index):
                permitted = permission_bits & self.format.permission_bits(link)
                yield from self._runs(link & ADDRESS_MASK, level - 1, base + (number << shift), permitted)

    def _links(self, table: int, level: int) -> Iterator[tuple[int, int]]:
        for entry in self.words_of(table).tolist() if level > 1 else ():
            if entry & self._present and not is_leaf(entry, level):
                yield level - 1, entry & ADDRESS_MASK
                yield from self._links(entry & ADDRESS_MASK, level - 1)

    def _leaves(self, table: int, level: int, base: int, start: int, end: int, permission_bits: int) -> Iterator[Leaf]:
        """The leaves below one table, which begins at the guest-physical address `base`, that touch [start, end)."""
        shift = level_shift(level)
        first = max(0, start - base >> shift)
        last = min(_INDEX, end - 1 - base >> shift)
        for index, entry in enumerate(self._words[(table >> 3) + first : (table >> 3) + last + 1].tolist(), first):
            if not entry & self._present:
                continue
            gpa = base + (index << shift)
            permitted = permission_bits & self.format.permission_bits(entry)
            if is_leaf(entry, level):
                yield Leaf(gpa, entry, level, permitted)
            else:
                yield from self._leaves(entry & ADDRESS_MASK, level - 1, gpa, start, end, permitted)


def merged(runs: Iterable[Run], format: EntryFormat) -> Iterator[MappedRange]:
    """What runs of leaves in order say, with those merged that continue each other. Misconfigured for a reserved memory type."""
    ignored = format.accessed_dirty
    first: Leaf | None = None
    following, expected = 0, 0  # the guest-physical address and the entry that would continue the range
    for leaf, count in runs:
        gpa, entry, level, permission_bits = leaf
        step = count << level_shift(level)
        entry &= ~ignored
        if first and (gpa, entry, level, permission_bits) == (following, expected, first.level, first.permission_bits):
            following, expected = following + step, expected + step
            continue
        if first:
            yield _range(first, following, format)
        first, following, expected = leaf, gpa + step, entry + step
    if first:
        yield _range(first, following, format)


def _range(first: Leaf, end: int, format: EntryFormat) -> MappedRange:
    """The pages from `first` up to the guest-physical address `end`."""
    gpa, entry, level, permission_bits = first
    size = PageSize(1 << level_shift(level))
    hpa = Hpa(entry & ADDRESS_MASK & -size)
    return MappedRange(Gpa(gpa), hpa, end - gpa, size, Permissions(permission_bits), format.memory_type(entry))


def _page_flags(format: EntryFormat, permissions: int) -> int | None:
    """The flags of a 4 KiB page of write-back memory, or None if the format cannot express them."""
    try:
        return format.leaf_flags(Permissions(permissions), MemoryType.WB, PageSize.SIZE_4K)
    except NotExpressible:
        return None


def _check_range(gpa: int, hpa: int, length: int, alignment: PageSize) -> None:
    """Refuses what does not fit pages of `alignment` bytes, or the addresses of the tables."""
    for what, value in (("guest-physical address", gpa), ("host-physical address", hpa), ("length", length)):
        if value % alignment:
            raise UnalignedAddress(what, value, alignment)
    for what, start, width in (
        ("guest-physical address", gpa, ADDRESS_BITS),
        ("host-physical address", hpa, PHYSICAL_ADDRESS_BITS),
    ):
        if start < 0 or start + length > 1 << width:
            raise AddressOutOfRange(what, start, length, 1 << width)


def _pieces(start: int, end: int, offset: int, largest: PageSize) -> Iterator[tuple[int, int, PageSize]]:
    """Cuts [start, end) into runs of pages of one size, none larger than `largest`; the host-physical side lies `offset` away."""
    inner_start = -(-start // largest) * largest
    inner_end = end // largest * largest
    if largest == PageSize.SIZE_4K:
        yield start, end, largest
    elif offset % largest or inner_start >= inner_end:
        yield from _pieces(start, end, offset, largest.smaller)
    else:
        yield from _pieces(start, inner_start, offset, largest.smaller)
        yield inner_start, inner_end, largest
        yield from _pieces(inner_end, end, offset, largest.smaller)
