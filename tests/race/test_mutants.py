"""Race testing is proven on pagers that are broken on purpose."""

import pytest

from kev.race.catalogue import Catalogue, CatalogueError, Mutant
from kev.race.errors import TokenError
from kev.race.explore import explore
from kev.race.schedule import Schedule
from kev.race.shrink import shrink
from kev.race.strategy import make_strategy
from kev.race.strategy.replay import ReplayScheduler
from kev.race.subject import Identity
from kev.race.targets import find_subject
from kev.race.token import Token
from kev.race.trace.subject import TraceSubject
from kev.race.verify import MOST_SWITCHES, MUTANT_RUNS, check_healthy
from kev.work.processes import local
from tests.race.mutants import MUTANTS

CAUGHT = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)


@CAUGHT
@pytest.mark.parametrize("strategy", ["random", "pct", "exhaustive"])
def test_every_mutant_is_caught_and_shrinks_to_a_few_switches(mutant: Mutant, strategy: str) -> None:
    exploration = explore(mutant.subject, make_strategy(strategy), MUTANT_RUNS)
    assert exploration.found is not None
    assert exploration.nondeterminism is None
    assert exploration.runs + exploration.redundant <= MUTANT_RUNS
    shrunk = shrink(mutant.subject, exploration.found.schedule, exploration.found.failure)
    assert shrunk.schedule.switches <= MOST_SWITCHES
    assert shrunk.failure.oracle == exploration.found.failure.oracle


@CAUGHT
def test_the_program_of_a_mutant_does_the_healthy_pager_no_harm(mutant: Mutant) -> None:
    for strategy in ("random", "pct", "exhaustive"):
        assert explore(TraceSubject(mutant.program), make_strategy(strategy), 100).found is None


@CAUGHT
def test_a_mutant_may_get_away_with_it(mutant: Mutant) -> None:
    assert explore(mutant.subject, make_strategy("free"), 1).found is None


@CAUGHT
def test_a_token_finds_the_mutant_again(mutant: Mutant) -> None:
    found = explore(mutant.subject, make_strategy("random"), MUTANT_RUNS).found
    assert found is not None
    token = Token.parse(str(Token(mutant.subject.identity, found.schedule)))
    assert find_subject(token, token.identity.target).run(ReplayScheduler(token.schedule)).failure == found.failure


def test_the_healthy_pager_survives() -> None:
    report = check_healthy([mutant.program for mutant in MUTANTS], runs=2_000, seed=1, place=local(1))
    assert (report.failures, report.nondeterminism) == ([], [])
    assert report.survived
    assert report.runs == 2_000


def test_a_catalogue_that_cannot_be_imported_is_refused_by_name() -> None:
    with pytest.raises(CatalogueError, match=r"catalogue no\.such\.module: cannot be imported"):
        Catalogue.load("no.such.module")
    with pytest.raises(CatalogueError, match=r"catalogue tests\.race: it has no list MUTANTS"):
        Catalogue.load("tests.race")
    with pytest.raises(CatalogueError, match="there is no 'sound'; it has no-lock, check-then-act"):
        Catalogue.load()["sound"]


def test_a_pager_that_cannot_be_imported_is_refused_by_name() -> None:
    with pytest.raises(CatalogueError, match=r"pager no\.such:Pager, which cannot be imported"):
        find_subject(Token(Identity("trace", "no.such:Pager", "r0"), Schedule(())), "no.such:Pager")


def test_a_pager_that_only_a_token_names_is_not_imported() -> None:
    token = Token(Identity("trace", "tests.race.mutants.nothing:Pager", "r0"), Schedule(()))
    with pytest.raises(
        TokenError, match=r"^the token is about the pager 'tests.race.mutants.nothing:Pager', which is imported only if"
    ):
        find_subject(token)
    with pytest.raises(TokenError):
        find_subject(token, "tests.race.mutants.other:Pager")
