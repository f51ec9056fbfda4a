"""Page tables of many guests, counted with and without nested paging."""

import json

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from kev.cli.main import kev
from kev.page_tables.shadowing import Population, PopulationError, TableCount, count_tables

SMALL = st.builds(
    Population,
    guests=st.integers(1, 3),
    processes=st.integers(1, 4),
    pages=st.integers(1, 600),
    kernel_pages=st.integers(1, 600),
)


def test_a_shadow_for_every_process_and_one_nested_table_for_every_guest() -> None:
    counts = count_tables(Population(guests=10, processes=20, pages=8, kernel_pages=8))
    assert counts.guest == TableCount(200, 10 * (20 * 4 + 3))
    assert counts.shadow == counts.guest
    assert counts.nested == TableCount(10, 40)
    assert (counts.shadow_reads, counts.nested_reads) == (4, 24)


@settings(max_examples=15)
@given(SMALL)
def test_both_ways_lead_to_the_same_place(population: Population) -> None:
    counts = count_tables(population)
    assert counts.translations >= 2 * population.guests * population.processes
    assert counts.shadow.trees == population.guests * population.processes
    assert counts.nested.trees == population.guests


@pytest.mark.parametrize(
    ("population", "message"),
    [
        (Population(guests=0), r"^guests: 0: it must be 1 or more$"),
        (Population(guests=1000, processes=1000), r"^256,512,000 pages of 1,000 guests are too many to build: .* 2,097,152$"),
    ],
)
def test_what_cannot_be_built_is_refused(population: Population, message: str) -> None:
    with pytest.raises(PopulationError, match=message):
        count_tables(population)


def test_the_command_counts_as_json_too() -> None:
    options = ["bench", "tables", "--guests", "2", "--processes", "3", "--pages", "4", "--kernel-pages", "5", "--json"]
    counts = json.loads(CliRunner().invoke(kev, options).stdout)
    assert (counts["shadow"]["trees"], counts["nested"]["trees"], counts["translations"]) == (6, 2, 12)
