"""A check of the catalogue that is ended early."""

from itertools import count

import pytest

from kev.race.catalogue import DEFAULT, Catalogue
from kev.race.verify import MutantReport, check_mutants
from kev.work.here import Here
from kev.work.stopping import Stopped, stopped_when


def told_when_ended_after(looks: int) -> list[MutantReport]:
    asked, reports = count(), []
    with stopped_when(lambda: next(asked) > looks):
        try:
            for report in check_mutants(Catalogue.load(DEFAULT), 0, Here()):
                reports.append(report)
        except Stopped:
            return reports
    raise AssertionError("it was not ended")


@pytest.mark.slow
def test_a_broken_pager_is_not_called_missed_because_the_search_was_ended() -> None:
    for looks in range(0, 200, 9):
        assert all(report.caught for report in told_when_ended_after(looks))
