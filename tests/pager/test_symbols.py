"""The names of a kernel's addresses."""

import contextlib

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.errors import KevError
from kev.pager.errors import ImageError
from kev.pager.image import KernelImage
from kev.pager.symbols import Symbol, SymbolTable
from tests.pager.elf import Elf, ElfSymbol, add_symbols, build_elf
from tests.pager.sources import BytesSource

SYMBOLS = (ElfSymbol("later", 0x2000, 0x10), ElfSymbol("start", 0x1000), ElfSymbol("main", 0x1008, 0x40))


def symbols_of(elf: Elf) -> SymbolTable:
    return SymbolTable.from_elf(BytesSource(bytes(elf.data)))


def with_symbols(*symbols: ElfSymbol, bits: int = 64, **section_fields: int) -> Elf:
    return add_symbols(build_elf((), 0, bits=bits), symbols, **section_fields)


@pytest.mark.parametrize("bits", [32, 64])
def test_symbols_come_in_the_order_of_their_addresses(bits: int) -> None:
    table = symbols_of(with_symbols(*SYMBOLS, bits=bits))
    assert [(symbol.name, symbol.address, symbol.size) for symbol in table] == [
        ("start", 0x1000, 0),
        ("main", 0x1008, 0x40),
        ("later", 0x2000, 0x10),
    ]
    assert len(table) == 3


@pytest.mark.parametrize(
    ("address", "found"),
    [
        (0x0FFF, None),
        (0x1000, ("start", 0)),
        (0x1007, ("start", 7)),
        (0x1047, ("main", 0x3F)),
        (0x1048, None),
        (0x200F, ("later", 15)),
        (0x2010, None),
    ],
)
def test_an_address_belongs_to_the_symbol_before_it_up_to_that_ones_size(address: int, found: tuple[str, int] | None) -> None:
    answer = symbols_of(with_symbols(*SYMBOLS)).at(address)
    assert (answer and (answer[0].name, answer[1])) == found


@pytest.mark.parametrize(
    ("address", "found"),
    [(0x1FFF, ("table", 0xFFF)), (0x2000, ("end_of_data", 0)), (0x2001, None), (0x3000, ("moved", 0)), (0x5000, ("moved", 0x2000))],
)
@pytest.mark.parametrize("bits", [32, 64])
def test_a_symbol_without_a_size_reaches_no_further_than_its_section(
    address: int, found: tuple[str, int] | None, bits: int
) -> None:
    data, *_ = sections = (range(0x1000, 0x2000), range(0x2000, 0x3000))
    named = (ElfSymbol("table", data.start), ElfSymbol("end_of_data", data.stop), ElfSymbol("moved", 0x3000))
    symbols = [attrs.evolve(symbol, section=3) for symbol in named]
    answer = symbols_of(add_symbols(build_elf((), 0, bits=bits), symbols, sections)).at(address)
    assert (answer and (answer[0].name, answer[1])) == found


def test_of_names_for_the_same_bytes_the_later_in_the_file_is_told_since_global_ones_follow_local_ones() -> None:
    local, others = ElfSymbol("end_of_header", 0x1000, type=0), (ElfSymbol("_start", 0x1000, type=0), *SYMBOLS[2:])
    answer = symbols_of(with_symbols(local, *others)).at(0x1004)
    assert answer is not None
    assert (answer[0].name, answer[1]) == ("_start", 4)


def test_what_is_not_an_address_or_has_no_name_is_left_out() -> None:
    table = symbols_of(
        with_symbols(
            ElfSymbol("undefined", 0, section=0),
            ElfSymbol("constant", 5, section=0xFFF1),
            ElfSymbol("file.c", 0, type=4),
            ElfSymbol("", 0x1000),
            ElfSymbol("label", 0x1000, type=0),
            ElfSymbol("variable", 0x2000, 8, type=1),
        )
    )
    assert [symbol.name for symbol in table] == ["label", "variable"]


def test_an_image_without_a_symbol_table_has_no_symbols() -> None:
    assert list(symbols_of(build_elf((), 0))) == []


def test_an_image_reads_its_symbols_once() -> None:
    elf = add_symbols(build_elf((), 0), SYMBOLS)
    source = BytesSource(bytes(elf.data))
    image = KernelImage(source, (), 0, 0, 64)  # type: ignore[arg-type]
    assert source.reads == []
    assert image.symbols.at(0x1010) == (Symbol(0x1008, 0x40, "main"), 8)  # type: ignore[arg-type]
    reads = len(source.reads)
    assert image.symbols.at(0x2001) is not None
    assert len(source.reads) == reads


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("offset", 1 << 40, "sh_offset 0x10000000000 + sh_size 0x60 exceeds the file's size"),
        ("size", 1 << 40, "sh_size 0x10000000000 exceeds the file's size"),
        ("entsize", 0, "sh_entsize of the symbol table is 0, not 24"),
        ("link", 77, "sh_link of the symbol table is 77, of 3 sections"),
    ],
)
def test_a_damaged_symbol_table_is_refused_by_name(field: str, value: int, message: str) -> None:
    with pytest.raises(ImageError, match=r"^kernel: ") as raised:
        symbols_of(with_symbols(*SYMBOLS, **{field: value}))
    assert message in str(raised.value)


def test_an_endless_list_of_sections_is_refused_by_name() -> None:
    elf = with_symbols(*SYMBOLS).set("e_shnum", 0)
    offset = len(elf.data) - 3 * 64
    elf.data[offset + 32 : offset + 40] = b"\xff" * 8
    with pytest.raises(ImageError, match=f"^kernel: e_shnum is {(1 << 64) - 1}: the most is 131072"):
        symbols_of(elf)


@given(st.data())
def test_a_damaged_file_raises_nothing_but_kev_errors(data: st.DataObject) -> None:
    elf = with_symbols(*SYMBOLS, bits=data.draw(st.sampled_from([32, 64])))
    for _ in range(data.draw(st.integers(1, 6))):
        elf.data[data.draw(st.integers(0, len(elf.data) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(KevError):
        table = symbols_of(elf)
        assert all(table.at(symbol.address) is not None for symbol in table)
