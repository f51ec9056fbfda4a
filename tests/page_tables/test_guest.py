import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.addressing import GIB, MIB, PAGE_SIZE, Gva
from kev.exits import GENERAL_PROTECTION, Access, GuestException
from kev.page_tables.guest import GuestFault, ReadEntry, translate
from tests.page_tables.guest_memory import (
    LARGE,
    LONG_MODE,
    NO_EXECUTE,
    NXE,
    PAE,
    PE,
    PG,
    PRESENT,
    PSE,
    RW,
    RWU,
    SMAP,
    SMEP,
    USER,
    WP,
    WRITABLE,
    Entries,
    Registers,
    long_mode,
    pae,
    protected_mode,
)

NOT_PRESENT, PROTECTION, WRITE, BY_USER, RESERVED, FETCH = 0, 1, 2, 4, 8, 16


def fault(
    read: ReadEntry, registers: Registers, gva: int, access: Access | None = None, user: bool = False, alignment_check: bool = False
) -> GuestException:
    """The exception that a translation ends with."""
    with pytest.raises(GuestFault) as caught:
        translate(read, registers, gva, access, user=user, alignment_check=alignment_check)
    return caught.value.exception


def page_fault(error_code: int, gva: int) -> GuestException:
    return GuestException(14, error_code, Gva(gva))


class TestWithoutPaging:
    @pytest.mark.parametrize("gva", [0, 0x101000, 0xFFFFFFFF])
    def test_the_address_is_the_guest_physical_one(self, gva: int) -> None:
        assert translate(Entries(8), Registers(cr0=PE), gva, Access.WRITE, user=True) == gva

    def test_the_address_has_32_bits(self) -> None:
        assert translate(Entries(8), Registers(cr0=PE, cr4=PAE), 0x1_0000_2000) == 0x2000


class TestThe32BitWalk:
    GVA = 0x00C03123  # directory entry 3, table entry 3

    def test_two_levels_lead_to_a_page(self) -> None:
        read = Entries(4, {0x1000 + 3 * 4: 0x2000 | RW, 0x2000 + 3 * 4: 0xABCDE000 | RW})
        assert translate(read, protected_mode(), self.GVA) == 0xABCDE123

    def test_the_address_wraps_at_4_gib(self) -> None:
        read = Entries(4, {0x1000 + 3 * 4: 0x2000 | RW, 0x2000 + 3 * 4: 0x5000 | RW})
        assert translate(read, protected_mode(), 1 << 32 | self.GVA) == 0x5123

    def test_a_4_mib_page_ends_the_walk(self) -> None:
        read = Entries(4, {0x1000 + 3 * 4: 0x80400000 | LARGE | RW})
        assert translate(read, protected_mode(), self.GVA) == 0x80403123

    def test_a_4_mib_page_may_lie_above_4_gib(self) -> None:
        read = Entries(4, {0x1000 + 3 * 4: 0x80400000 | 0xA5 << 13 | LARGE | RW})
        assert translate(read, protected_mode(), self.GVA) == 0xA5_8040_3123

    def test_the_reserved_bit_of_a_4_mib_page_faults(self) -> None:
        read = Entries(4, {0x1000 + 3 * 4: 1 << 21 | LARGE | RW})
        assert fault(read, protected_mode(), self.GVA) == page_fault(PROTECTION | RESERVED, self.GVA)

    def test_without_page_size_extensions_the_bit_is_ignored(self) -> None:
        read = Entries(4, {0x1000 + 3 * 4: 0x2000 | LARGE | RW, 0x2000 + 3 * 4: 0x5000 | RW})
        assert translate(read, protected_mode(cr4=0), self.GVA) == 0x5123

    @pytest.mark.parametrize("present", [0, 1])
    def test_an_entry_that_is_not_present_faults_at_either_level(self, present: int) -> None:
        read = Entries(4, {0x1000 + 3 * 4: 0x2000 | present, 0x2000 + 3 * 4: 0x5000})
        assert fault(read, protected_mode(), self.GVA, Access.WRITE, user=True) == page_fault(WRITE | BY_USER, self.GVA)

    def test_a_fetch_is_not_told_from_a_read_unless_smep_is_on(self) -> None:
        read = Entries(4)
        assert fault(read, protected_mode(), self.GVA, Access.EXECUTE) == page_fault(0, self.GVA)
        assert fault(read, protected_mode(cr4=SMEP), self.GVA, Access.EXECUTE) == page_fault(FETCH, self.GVA)

    def test_both_levels_have_to_permit(self) -> None:
        for directory, entry in ((RW, RWU), (RWU, RW)):
            read = Entries(4, {0x1000 + 3 * 4: 0x2000 | directory, 0x2000 + 3 * 4: 0x5000 | entry})
            assert fault(read, protected_mode(), self.GVA, Access.READ, user=True) == page_fault(PROTECTION | BY_USER, self.GVA)


class TestThePaeWalk:
    GVA = 0x80603123  # pointer 2, directory entry 3, table entry 3

    def test_three_levels_lead_to_a_page_above_4_gib(self) -> None:
        read = Entries(8, {0x1030: 0x2000 | PRESENT, 0x2018: 0x3000 | RW, 0x3018: 0xF_0000_5000 | RW})
        assert translate(read, pae(cr3=0x1020), self.GVA) == 0xF_0000_5123

    def test_a_2_mib_page_ends_the_walk(self) -> None:
        read = Entries(8, {0x1010: 0x2000 | PRESENT, 0x2018: 0x1_0020_0000 | LARGE | RW})
        assert translate(read, pae(), self.GVA) == 0x1_0020_3123

    def test_a_pointer_has_no_rights_that_could_be_missing(self) -> None:
        read = Entries(8, {0x1010: 0x2000 | PRESENT, 0x2018: 0x3000 | RWU, 0x3018: 0x5000 | RWU})
        assert translate(read, pae(), self.GVA, Access.WRITE, user=True) == 0x5123

    def test_a_pointer_that_is_not_present_faults(self) -> None:
        assert fault(Entries(8), pae(), self.GVA, Access.EXECUTE) == page_fault(FETCH, self.GVA)

    @pytest.mark.parametrize("address", [0x1010, 0x2018, 0x3018])
    def test_bits_above_the_address_are_reserved(self, address: int) -> None:
        read = Entries(8, {0x1010: 0x2000 | PRESENT, 0x2018: 0x3000 | RW, 0x3018: 0x5000 | RW})
        read.entries[address] |= 1 << 55
        assert fault(read, pae(), self.GVA) == page_fault(PROTECTION | RESERVED, self.GVA)

    def test_execute_disable_is_reserved_until_it_is_enabled(self) -> None:
        read = Entries(8, {0x1010: 0x2000 | PRESENT, 0x2018: 0x3000 | RW, 0x3018: 0x5000 | RW | NO_EXECUTE})
        assert fault(read, pae(efer=0), self.GVA, Access.EXECUTE) == page_fault(PROTECTION | RESERVED, self.GVA)
        assert fault(read, pae(efer=NXE), self.GVA, Access.EXECUTE) == page_fault(PROTECTION | FETCH, self.GVA)
        assert translate(read, pae(efer=NXE), self.GVA, Access.READ) == 0x5123


class TestThe4LevelWalk:
    GVA = 1 << 39 | 2 << 30 | 3 << 21 | 4 << 12 | 0x567
    LOCATIONS = (0x1008, 0x2010, 0x3018, 0x4020)

    def entries(self, *flags: int) -> Entries:
        """Tables at 0x2000, 0x3000, 0x4000 and a page at 0x5000, with the given flags from the root down."""
        return Entries(
            8, {location: 0x2000 + level * 0x1000 | flags[level] for level, location in enumerate(self.LOCATIONS[: len(flags)])}
        )

    def test_four_levels_lead_to_a_page(self) -> None:
        assert translate(self.entries(RW, RW, RW, RW), long_mode(), self.GVA) == 0x5567

    def test_bits_of_cr3_and_of_entries_that_are_not_address_do_not_count(self) -> None:
        noise = 0x7FF0_0000_0000_0E78
        read = self.entries(RW | noise, RW | noise, RW | noise, RW | noise)
        assert translate(read, long_mode(cr3=0x1000 | 0x18), self.GVA) == 0x5567

    def test_a_2_mib_page_ends_the_walk(self) -> None:
        read = self.entries(RW, RW)
        read.entries[0x3018] = 6 * MIB | LARGE | RW
        assert translate(read, long_mode(), self.GVA) == 6 * MIB + 0x4567

    def test_a_1_gib_page_ends_the_walk(self) -> None:
        read = self.entries(RW)
        read.entries[0x2010] = 7 * GIB | LARGE | RW
        assert translate(read, long_mode(), self.GVA) == 7 * GIB + 6 * MIB + 0x4567

    def test_the_page_attribute_bit_of_a_small_page_is_no_large_page(self) -> None:
        assert translate(self.entries(RW, RW, RW, RW | LARGE), long_mode(), self.GVA) == 0x5567

    def test_the_high_half_uses_the_upper_entries(self) -> None:
        read = Entries(8, {0x1FF8: 0x2000 | RW, 0x2FF0: GIB | LARGE | RW})
        assert translate(read, long_mode(), 0xFFFF_FFFF_8010_1234) == GIB + 0x10_1234

    @pytest.mark.parametrize("gva", [1 << 47, 0xFFFF_7FFF_FFFF_FFFF, 1 << 63, 0x0001_0000_0000_0000])
    def test_an_address_that_is_not_canonical_is_a_general_protection_fault(self, gva: int) -> None:
        assert fault(self.entries(RW, RW, RW, RW), long_mode(), gva) == GENERAL_PROTECTION

    @pytest.mark.parametrize("level", range(4))
    def test_an_entry_that_is_not_present_faults_at_every_level(self, level: int) -> None:
        read = self.entries(RW, RW, RW, RW)
        read.entries[self.LOCATIONS[level]] &= ~PRESENT
        assert fault(read, long_mode(), self.GVA, Access.READ) == page_fault(NOT_PRESENT, self.GVA)

    @pytest.mark.parametrize(
        ("level", "flags"), [(0, RW | LARGE), (1, RW | LARGE | 1 << 13), (1, RW | LARGE | 1 << 29), (2, RW | LARGE | 1 << 20)]
    )
    def test_reserved_bits_fault_at_every_level(self, level: int, flags: int) -> None:
        read = self.entries(RW, RW, RW, RW)
        read.entries[self.LOCATIONS[level]] = flags
        assert fault(read, long_mode(), self.GVA, Access.WRITE) == page_fault(PROTECTION | RESERVED | WRITE, self.GVA)

    def test_what_is_missing_counts_before_what_is_forbidden(self) -> None:
        read = self.entries(PRESENT, RW, RW, 0)
        assert fault(read, long_mode(), self.GVA, Access.WRITE, user=True) == page_fault(WRITE | BY_USER, self.GVA)

    @pytest.mark.parametrize("level", range(4))
    def test_execute_disable_counts_at_every_level(self, level: int) -> None:
        flags = [RW, RW, RW, RW]
        flags[level] |= NO_EXECUTE
        read = self.entries(*flags)
        assert fault(read, long_mode(), self.GVA, Access.EXECUTE) == page_fault(PROTECTION | FETCH, self.GVA)
        assert translate(read, long_mode(), self.GVA, Access.WRITE) == 0x5567

    @pytest.mark.parametrize("level", range(4))
    def test_write_permission_counts_at_every_level(self, level: int) -> None:
        flags = [RWU, RWU, RWU, RWU]
        flags[level] &= ~WRITABLE
        read = self.entries(*flags)
        assert fault(read, long_mode(), self.GVA, Access.WRITE, user=True) == page_fault(PROTECTION | WRITE | BY_USER, self.GVA)
        assert fault(read, long_mode(cr0=WP), self.GVA, Access.WRITE) == page_fault(PROTECTION | WRITE, self.GVA)
        assert translate(read, long_mode(), self.GVA, Access.WRITE) == 0x5567

    @pytest.mark.parametrize("level", range(4))
    def test_user_permission_counts_at_every_level(self, level: int) -> None:
        flags = [RWU, RWU, RWU, RWU]
        flags[level] &= ~USER
        read = self.entries(*flags)
        assert fault(read, long_mode(), self.GVA, Access.READ, user=True) == page_fault(PROTECTION | BY_USER, self.GVA)
        assert translate(read, long_mode(cr4=SMEP | SMAP), self.GVA, Access.EXECUTE) == 0x5567

    def test_smep_keeps_the_supervisor_from_executing_user_pages(self) -> None:
        read = self.entries(RWU, RWU, RWU, RWU)
        assert fault(read, long_mode(cr4=SMEP), self.GVA, Access.EXECUTE) == page_fault(PROTECTION | FETCH, self.GVA)
        assert translate(read, long_mode(cr4=SMEP), self.GVA, Access.READ) == 0x5567
        assert translate(read, long_mode(cr4=SMEP), self.GVA, Access.EXECUTE, user=True) == 0x5567

    def test_smap_keeps_the_supervisor_from_user_data_unless_alignment_checks_are_on(self) -> None:
        read = self.entries(RWU, RWU, RWU, RWU)
        assert fault(read, long_mode(cr4=SMAP), self.GVA, Access.READ) == page_fault(PROTECTION, self.GVA)
        assert translate(read, long_mode(cr4=SMAP), self.GVA, Access.READ, alignment_check=True) == 0x5567
        assert translate(read, long_mode(cr4=SMAP), self.GVA, Access.EXECUTE) == 0x5567
        assert translate(read, long_mode(cr4=SMAP), self.GVA, Access.READ, user=True) == 0x5567

    def test_without_an_access_permissions_do_not_count(self) -> None:
        read = self.entries(PRESENT, PRESENT, PRESENT, PRESENT | NO_EXECUTE)
        assert translate(read, long_mode(cr0=WP, cr4=SMEP | SMAP), self.GVA, user=True) == 0x5567

    def test_what_the_reader_raises_reaches_the_caller(self) -> None:
        class Missing(Exception):
            pass

        def read(gpa: int, size: int) -> int:
            raise Missing(gpa)

        with pytest.raises(Missing, match=str(0x1008)):
            translate(read, long_mode(), self.GVA)


def build_4_level(pages: dict[tuple[int, int], int]) -> Entries:
    """Tables for pages given as (gva, shift) -> gpa, made without looking at how they are walked."""
    entries: dict[int, int] = {}
    tables: dict[tuple[int, int], int] = {}
    for (gva, page_shift), gpa in pages.items():
        table = 0x1000
        for shift in (39, 30, 21, 12):
            location = table + (gva // 2**shift % 512) * 8
            if shift == page_shift:
                entries[location] = gpa + RW + (LARGE if shift > 12 else 0)
                break
            table = tables.setdefault((shift, gva % 2**48 // 2**shift), 0x2000 + len(tables) * 0x1000)
            entries[location] = table + RW
    return Entries(8, entries)


UPPER = st.sampled_from([0, 1, 255, 256, 511])
INDEX = st.sampled_from([0, 1, 2, 511])


@given(
    pages=st.dictionaries(
        st.tuples(UPPER, INDEX, INDEX, INDEX), st.tuples(st.sampled_from([12, 21, 30]), st.integers(0, 1 << 18)), max_size=12
    ),
    offset=st.integers(0, PAGE_SIZE - 1),
)
def test_any_set_of_pages_is_found_where_a_dict_says(pages: dict[tuple[int, int, int, int], tuple[int, int]], offset: int) -> None:
    model: dict[tuple[int, int], int] = {}
    for (a, b, c, d), (shift, frame) in pages.items():
        gva = (a << 39 | b << 30 | c << 21 | d << 12) // 2**shift * 2**shift
        sign = 0xFFFF_0000_0000_0000 if a >= 256 else 0
        overlap = any(gva | sign < start + 2**size and start < (gva | sign) + 2**shift for start, size in model)
        if not overlap:
            model[gva | sign, shift] = frame << shift & (1 << 52) - 1
    read = build_4_level(model)
    for (gva, shift), gpa in model.items():
        assert translate(read, long_mode(), gva + offset) == gpa + offset
        assert translate(read, long_mode(), gva + 2**shift - 1) == gpa + 2**shift - 1
    for a, b, c, d in pages:
        gva = a << 39 | b << 30 | c << 21 | d << 12 | (0xFFFF_0000_0000_0000 if a >= 256 else 0)
        holders = [gpa + gva - start for (start, size), gpa in model.items() if start <= gva < start + 2**size]
        if holders:
            assert translate(read, long_mode(), gva) == holders[0]
        else:
            assert fault(read, long_mode(), gva) == page_fault(NOT_PRESENT, gva)


def test_a_guest_that_turned_paging_on_in_the_three_ways_is_told_apart_by_its_registers() -> None:
    read_32 = Entries(4, {0x1000: LARGE | RW})
    read_64 = Entries(8, {0x1000: 0x2000 | PRESENT, 0x2000: LARGE | RW})
    assert translate(read_32, Registers(PE | PG, 0x1000, PSE), 0x1234) == 0x1234
    assert translate(read_64, Registers(PE | PG, 0x1000, PAE), 0x1234) == 0x1234
    read_64.entries[0x1000] |= RW
    assert translate(read_64, Registers(PE | PG, 0x1000, PAE, LONG_MODE), 0x1234) == 0x1234
