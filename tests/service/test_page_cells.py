"""Pages of a machine, summed up in cells."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.service.errors import Invalid
from kev.service.page_cells import CellsWanted, in_cells

_PAGE = 4096
_PAGES = 4000


def described(pages: set[int]) -> dict[str, Any]:
    runs: list[list[int]] = []
    for page in sorted(pages):
        if runs and runs[-1][1] == page * _PAGE:
            runs[-1][1] += _PAGE
        else:
            runs.append([page * _PAGE, (page + 1) * _PAGE])
    ram = {"name": "RAM", "flags": "rwx", "start": 0, "end": _PAGES * _PAGE}
    return {"page_size": _PAGE, "regions": [ram], "present": runs, "loading": []}


_ADDRESSES = st.integers(0, _PAGES * _PAGE)


@given(st.sets(st.integers(0, _PAGES - 1), max_size=200), st.integers(1, 300), _ADDRESSES, st.none() | _ADDRESSES)
def test_each_cell_has_as_many_pages_as_there_are_in_it(pages: set[int], count: int, start: int, end: int | None) -> None:
    last = -(-(_PAGES * _PAGE if end is None else end) // _PAGE)
    if start // _PAGE >= last:
        with pytest.raises(Invalid, match="no page lies"):
            in_cells(described(pages), CellsWanted(count, start, end))
        return
    told = in_cells(described(pages), CellsWanted(count, start, end))
    size, first = told["cell_pages"], start // _PAGE
    assert (told["start"], told["end"], told["present_pages"]) == (first * _PAGE, last * _PAGE, len(pages))
    assert len(told["present"]) == len(told["loading"]) == -(-(last - first) // size) <= count
    for index, present in enumerate(told["present"]):
        begin = first + index * size
        assert present == len(pages & set(range(begin, min(begin + size, last))))


def test_a_tebibyte_is_told_in_as_many_cells_as_are_wanted() -> None:
    pages = described({0, 1, 2})
    pages["regions"][0]["end"] = 1 << 40
    told = in_cells(pages, CellsWanted(64, 0, None))
    assert (told["cell_pages"], told["present"]) == ((1 << 28) // 64, [3] + [0] * 63)
