"""What a run says is passed on once."""

from kev.gdb.once import Once


def test_lines_of_a_repetition_are_passed_on_from_where_the_run_had_come() -> None:
    told: list[str] = []
    once = Once(told.append)
    say = once.from_the_beginning()
    say("a")
    say("b")
    again = once.from_the_beginning()
    for line in "abcd":
        again(line)
    assert told == ["a", "b", "c", "d"]
