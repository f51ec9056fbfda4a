"""`kev race`, as a person at the prompt sees it."""

import json
import re
import xml.etree.ElementTree as ET
from itertools import count
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kev.cli.main import kev
from kev.race.schedule import Schedule
from kev.race.subject import Identity
from kev.race.token import Token
from kev.work.stopping import stopped_when
from tests.race import small_guests as small


@pytest.fixture(autouse=True)
def _somewhere_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEV_RACE_STATE", str(tmp_path / "state"))


def race(*arguments: str) -> Result:
    return CliRunner().invoke(kev, ["race", *arguments], prog_name="kev")


def failing_token() -> tuple[str, str, str]:
    """With the option that names the pager it is about."""
    failure = json.loads(race("lost-wake-up", "--seed", "3", "--json").stdout)["failure"]
    return str(failure["token"]), "--pager", "tests.race.mutants.waking:LostWakeUp"


def test_a_broken_pager_is_caught_shrunk_told_and_drawn(tmp_path: Path) -> None:
    result = race("explore", "eviction-against-store", "--strategy", "random", "--svg", "race.svg")
    assert result.exit_code == 1
    assert "wrong contents in run " in result.stdout
    assert "shrunk to 3 switches and 2 vCPUs:" in result.stdout
    assert "stored at offset 0x0" in result.stdout
    assert ET.parse(tmp_path / "race.svg").getroot().tag.endswith("svg")


def test_a_program_that_does_no_harm_is_explored_to_the_end() -> None:
    result = race("r0/r0", "--strategy", "exhaustive", "--preemptions", "none", "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["complete"] is True
    assert report["failure"] is None
    assert report["runs"] == report["interleavings"] == 342


def test_a_token_replays_the_same_run_ten_times_out_of_ten() -> None:
    result = race("replay", *failing_token(), "--times", "10")
    assert result.exit_code == 1
    assert result.stdout.startswith("lost wake-up: nobody can go on: ")
    assert result.stdout.endswith("the same 10 times out of 10\n")


def shrunk_until(look: int | None, *token: str) -> tuple[Result, int]:
    """Shrinks a failure until it is looked for signals so often; and how often that was."""
    looks = count()
    with stopped_when(lambda: next(looks) == look):
        return race("shrink", *token), next(looks)


def test_of_shrinking_that_is_ended_what_was_reached_is_told() -> None:
    token = failing_token()
    _, looks = shrunk_until(None, *token)
    early, _ = shrunk_until(1, *token)
    assert early.stderr == "kev: stopped by SIGTERM: nothing smaller was found until then\n"
    late, _ = shrunk_until(looks - 2, *token)
    smaller = re.match(
        r"kev: stopped by SIGTERM: the smallest until then: (\d+) switches, now (\d+);.*\n  kev race replay (\S+)", late.stderr
    )
    assert smaller is not None
    assert Token.parse(smaller[3]).schedule.switches == int(smaller[2]) < int(smaller[1])


def test_a_failure_can_be_shrunk_and_shown() -> None:
    token = failing_token()
    assert "switches, now 3; 3 vCPUs, now 2:" in race("shrink", *token).stdout
    assert "LOST WAKE-UP: nobody can go on" in race("show", *token).stdout


def test_the_second_exploration_fails_at_once() -> None:
    assert race("lost-wake-up").exit_code == 1
    again = race("lost-wake-up")
    assert again.exit_code == 1
    assert again.stdout.startswith("lost wake-up again: ")


def test_a_run_that_ends_well_cannot_be_shrunk() -> None:
    result = race("shrink", "kev1-AAV0cmFjZQACcjABAAcM8gEv")
    assert result.exit_code == 2
    assert result.stderr == "kev: the run of this token ends well: there is nothing to shrink\n"


def test_what_nobody_knows_is_refused_by_name() -> None:
    result = race("explore", "no-such-pager")
    assert result.exit_code == 2
    assert "'no-such-pager'" in result.stderr


def test_kevs_own_pager_survives() -> None:
    result = race("explore", "--runs", "800", "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["survived"] is True
    assert report["runs"] == 800
    assert report["failures"] == []


@pytest.mark.slow
def test_the_catalogue_is_checked_as_a_whole() -> None:
    result = race("explore", "--all", "--runs", "1000", "--json", "--jobs", "2")
    report = json.loads(result.stdout)
    assert result.exit_code == 0
    assert report["ok"] is True
    assert report["caught"] == report["of"] >= 14
    assert all(mutant["switches"] <= 4 for mutant in report["mutants"])
    assert all(mutant["by"]["exhaustive"]["runs"] <= 1_000 for mutant in report["mutants"])


@pytest.mark.slow
def test_a_guest_s_race_is_found_told_and_replayed(tmp_path: Path) -> None:
    result = race("lost-update", "--smp", "3", "--svg", "race.svg")
    assert result.exit_code == 1
    assert "wrong exit code in run " in result.stdout
    assert "shrunk to " in result.stdout
    assert "WRONG EXIT CODE: the guest ends with exit code 1, not 0; the last it prints is " in result.stdout
    assert ET.parse(tmp_path / "race.svg").getroot().tag.endswith("svg")
    token = result.stdout.partition("shrunk to")[2].partition("kev race replay ")[2].split()[0]
    replayed = race("replay", token, "--times", "10")
    assert replayed.exit_code == 1
    assert replayed.stdout.endswith("the same 10 times out of 10\n")


def test_what_failed_once_is_tried_first() -> None:
    first = json.loads(race("boot-race", "--json").stdout)
    again = race("boot-race")
    assert first["failure"]["run"] >= 0
    assert again.stdout.startswith("wrong exit code again: ")


def test_what_is_taken_for_right_and_may_be_wrong_is_said(tmp_path: Path) -> None:
    guest = str(tmp_path / "guest")
    small.subject(tmp_path, small.guest([small.store(0, 1)], [], show=(0,)))
    words = (guest, "--smp", "2", "-m", "1M", "--runs", "1")
    doubt = f"exit code 1 is taken for right: {guest} ends with it even if nobody interferes"
    assert race(*words).stdout.endswith(f"\n{doubt}\n")
    assert json.loads(race(*words, "--json").stdout)["doubt"] == doubt


@pytest.mark.slow
def test_a_guest_s_report_is_json() -> None:
    report = json.loads(race("smp", "--runs", "2", "--json").stdout)
    assert (report["target"], report["runs"], report["failure"]) == ("smp", 2, None)


OF_A_GUEST = Token(Identity("guest", "smp", "smp=2 memory=268435456 exit=0 crc=00000000"), Schedule.of([(0, 1)]))
OF_A_PROGRAM = Token(Identity("trace", "", "r0"), Schedule.of([(0, 1)]))
OF_A_TEST = Token(Identity("test", "tests/test_a.py::test_b"), Schedule.of([(0, 1)]))


@pytest.mark.parametrize("command", ["explore", "detect"])
def test_help_names_no_options_that_are_refused_in_a_race(command: str) -> None:
    told = race(command, "--help").stdout
    named = set(re.findall(r"--[a-z-]+", told))
    assert {"--smp", "--disk", "--after"} <= named
    assert not named & {
        "--paging",
        "--source-latency",
        "--timeout",
        "--max-pages",
        "--max-output",
        "--retry",
        "--keyboard",
        "--firmware",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing",), "kev: nothing is neither a file, nor a guest (`kev guests` lists them), nor a trace program; "),
        (("r0/r0", "--smp", "2"), "kev: r0/r0 is not a guest: there is no machine to choose\n"),
        (("nothing", "--smp", "2"), "kev: nothing is neither a file, nor a guest"),
        (("lost-updat",), "kev: lost-updat is neither a file, nor a guest (is it 'lost-update'? `kev guests` lists them), nor "),
        (("explore", "--smp", "2"), "kev: a machine is described, but no guest is named: kev race explore GUEST\n"),
        (("explore", "--all", "--smp", "2"), "kev: a machine is described, but no guest is named: kev race explore GUEST\n"),
        (("explore", "--all", "lost-update"), "kev: --all: it has no meaning with 'lost-update': the whole catalogue is tried\n"),
        (("explore", "--strategy", "random"), "kev: --strategy is for one subject: name a guest, or a program\n"),
        (("explore", "--all", "--svg", "x.svg"), "kev: --svg is for one subject: name a guest, or a program\n"),
        (("explore", "--state", "x"), "kev: --state is for one subject: name a guest, or a program\n"),
        (("explore", ""), "kev: TARGET: '': no file has such a name, no guest and no program\n"),
        (("detect",), "kev: no guest is named, and no token: kev race detect TARGET\n"),
        (("detect", ""), "kev: no guest is named, and no token: kev race detect TARGET\n"),
        (("detect", str(OF_A_GUEST), "--smp", "3"), "kev: --smp has no meaning with a token, which says what is run, and how\n"),
        (("detect", str(OF_A_GUEST), "--runs", "3"), "kev: --runs has no meaning with a token, which says what is run, and how\n"),
        (
            ("show", str(OF_A_TEST)),
            "kev: the token is about a test of pytest: `kev race replay TOKEN --test tests/test_a.py::",
        ),
        (
            ("shrink", str(OF_A_TEST)),
            "kev: the token is about a test of pytest: `kev race replay TOKEN --test tests/test_a.py::",
        ),
        (("lost-update", "--paging", "eager"), "kev: paging: 'eager': not in a race: pages come one by one, "),
        (("lost-update", "--disk", "x,foo"), "kev: --disk: x,foo: 'foo': there is no such device for a disk"),
        (("lost-update", "--disk", "nowhere.img"), "kev: disk nowhere.img: cannot be read: No such file or directory\n"),
        (("hypercalls",), "kev: hypercalls on one vCPU: a race takes at least 2 (`--smp 2`)\n"),
        (("triple", "--smp", "2"), "kev: triple does not end by itself even if nobody interferes: vCPU 0 at RIP 0x10001f: "),
    ],
)
def test_what_cannot_be_raced_is_said_in_a_line(arguments: tuple[str, ...], message: str) -> None:
    result = race(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_guest_is_raced_on_the_machine_that_is_described(tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(bytes(1024))
    (tmp_path / "m.toml").write_text('image = "lost-update"\nmemory = "32M"\ndisks = ["disk.img,ide"]\n', encoding="utf-8")
    report = json.loads(race("explore", "--spec", "m.toml", "--smp", "3", "--json").stdout)
    assert report["target"] == "lost-update"
    details = Token.parse(report["failure"]["token"]).identity.details
    assert details.startswith(("smp=2 memory=33554432 exit=0 crc=", "smp=3 memory=33554432 exit=0 crc="))
    assert details.endswith(" 'disk=efb5af2e ./disk.img,ide'")
    assert race("replay", report["failure"]["token"]).exit_code == 1


@pytest.mark.slow
def test_a_guest_is_explored_from_a_snapshot_and_from_a_point(tmp_path: Path) -> None:
    run = CliRunner().invoke(
        kev, ["run", "lost-update", "--smp", "2", "--seed", "1", "--snapshot-at", "symbol:work", "work.snap"], prog_name="kev"
    )
    assert run.exit_code == 0
    for arguments in (
        ["work.snap"],
        ["--from", "work.snap"],
        ["lost-update", "--from", "work.snap"],
        ["lost-update", "--smp", "2", "--after", "work"],
    ):
        result = race(*arguments, "--runs", "100", "--json")
        assert result.exit_code == 1, result.output
        token = json.loads(result.stdout)["failure"]["shrunk"]["token"]
        assert race("replay", token, "--times", "3").stdout.endswith("the same 3 times out of 3\n")


@pytest.mark.parametrize("arguments", [["r0w1", "--after", "work"], ["--after", "work"], ["--from", "nothing"]])
def test_only_guests_begin_somewhere_else(arguments: list[str]) -> None:
    result = race(*arguments)
    assert result.exit_code not in (0, 1)
    assert result.stderr.count("\n") == 1


def test_store_buffers_are_for_what_is_named() -> None:
    result = race("explore", "--memory-model", "tso")
    assert (result.exit_code, result.stderr) == (2, "kev: --memory-model is for one subject: name a guest, or a program\n")


def test_a_program_s_token_has_its_store_buffers() -> None:
    report = json.loads(race("w0r1/w1r0;!0r1,1r0", "--memory-model", "tso", "--json").stdout)
    result = race("replay", report["failure"]["shrunk"]["token"])
    assert result.exit_code == 1
    assert result.stdout.startswith("forbidden outcome: vCPU 0 reads page 1 without a store of another; ")
