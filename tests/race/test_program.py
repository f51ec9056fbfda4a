"""The text of trace programs."""

import pytest
from hypothesis import given

from kev.race import Page, Program, cancel, evict, fence, locked_write, prefetch, read, write
from kev.race.errors import ProgramError
from kev.race.hypothesis import programs


@given(programs())
def test_a_program_is_what_its_text_says(program: Program) -> None:
    assert Program.parse(str(program)) == program


def test_actions_can_be_written_as_text_or_as_calls() -> None:
    program = Program.of([read(0), write(1)], [evict(0), prefetch(0, 2)], [cancel(1)], pages=[Page(failures=2)], short_cut=True)
    assert Program.parse(" r0 w1 / e0 p0+2 / c1 ; 0=x2 ; s") == program
    assert str(program) == "r0w1/e0p0+2/c1;0=x2;s"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("r0/x1", "'x1': an action is one of r w l f e p c and a number, such as r0 or p1+2, or m"),
        ("w0/m1", "'1': an action is one of r w l f e p c and a number, such as r0 or p1+2, or m"),
        ("r0;!0q1", "'0q1': what is observed is a vCPU and r, a page and perhaps +, or w and a page, as in !0r1,1r0+,0w1"),
        ("r0;!1r0", "!1r0: the vCPUs are 0 to 0, and the pages 0 to 0"),
        ("r0;!0r0;!0w0", "'!0w0': a program has one outcome that must not be"),
        ("/".join(["r0"] * 9) + ";tso", "a program of 9 vCPUs with store buffers: it has 1 to 8"),
        ("r0+2", "'r0+2': only prefetch (p) takes several pages"),
        ("r0;0=q", "'0=q': a page is its number, = and what applies of i (instant), x (failures) and n (needs), as in 1=x2n0"),
        ("r0/c2", "c2: there is no vCPU 2, the last is 1"),
        ("r0/c1", "c1: vCPU 1 cannot cancel itself"),
        ("r0r1;0=n1", "the loader of page 0 needs page 1: it may only need a page before its own"),
        ("r0r1;1=in0", "page 1 is instant and needs page 0: who needs another page has to wait"),
        ("/".join(["r0"] * 17), "a program of 17 vCPUs: it has 1 to 16"),
        ("r62", "a program of 63 pages: it has 1 to 62"),
        ("r0" * 250 + "/" + "r1" * 251, "a program of 501 actions: it has 0 to 500"),
        ("r0" * 10_000, "a program of 20000 characters: it has 0 to 16384"),
    ],
)
def test_a_text_that_makes_no_sense_is_refused_by_the_part(text: str, message: str) -> None:
    with pytest.raises(ProgramError) as refused:
        Program.parse(text)
    assert str(refused.value) == message


@pytest.mark.parametrize("text", [f"r{'9' * 5000}", f"p1+{'9' * 5000}", f"r0;0=x{'9' * 5000}", "r\u0661"])
def test_numbers_of_any_length_are_refused(text: str) -> None:
    with pytest.raises(ProgramError):
        Program.parse(text)


def test_an_action_on_a_page_there_is_not_is_refused() -> None:
    with pytest.raises(ProgramError, match="r3: the pages are 0 to 1"):
        Program(((read(3),),), (Page(), Page()))


def test_store_buffers_fences_and_what_must_not_be_are_in_the_text() -> None:
    program = Program.parse("w0 m r1 / l1 r0 ; ! 0r1, 1r0+, 1w1 ; tso ; s")
    assert str(program) == "w0mr1/l1r0;s;tso;!0r1,1r0+,1w1"
    assert Program.parse(str(program)) == program
    assert program.vcpus == ((write(0), fence(), read(1)), (locked_write(1), read(0)))
