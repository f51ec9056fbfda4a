"""What shells are told that a command line can go on with."""

import pytest
from click.shell_completion import ShellComplete

from kev.cli.main import kev


def completed(*words: str) -> list[tuple[str, str]]:
    """Values and their kinds; the last of the words has been begun."""
    *before, begun = words
    items = ShellComplete(kev, {}, "kev", "_KEV_COMPLETE").get_completions(before, begun)
    return [(item.value, item.type) for item in items]


@pytest.mark.parametrize(
    "command", [("run",), ("inspect",), ("bench", "boot"), ("race", "explore"), ("race",), ("jos", "run"), ("batch",)]
)
def test_images_are_guests_and_files(command: tuple[str, ...]) -> None:
    assert completed(*command, "hyp") == [("hypercalls", "plain"), ("hyp", "file")]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("run", "--paging", ""), ["lazy", "eager", "around=", "record=", "prefetch="]),
        (("run", "--boot", "multi"), ["multiboot2", "multiboot1"]),
        (("run", "--abi", "k"), ["keos", "kvm", "kev"]),
        (("run", "--log-level", "de"), ["debug"]),
        (("run", "--smp", ""), []),
        (("tour", "jo"), ["jos", "jos-vmx"]),
    ],
)
def test_values_of_options_are_those_that_there_are(words: tuple[str, ...], expected: list[str]) -> None:
    assert [value for value, _ in completed(*words)] == expected


@pytest.mark.parametrize("option", ["--spec", "--disk", "--module", "--report", "--dump"])
def test_options_that_name_files_are_completed_with_files(option: str) -> None:
    assert completed("run", option, "x") == [("x", "file")]


def test_the_options_of_what_is_short_for_explore_are_its_own() -> None:
    assert ("--strategy", "plain") in completed("race", "lost-update", "--str")
    assert completed("jos", "run", "jos", "--disk", "x") == [("x", "file")]


def test_commands_are_completed() -> None:
    assert ("detect", "plain") in completed("race", "de")
    assert ("inspect", "plain") in completed("ins")
