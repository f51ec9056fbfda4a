"""Command lines of `kev run`: read from the table of options, with click and without."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from kev.abi.selection import ABIS
from kev.boot.protocols import PROTOCOLS
from kev.cli.click_options import add_options
from kev.cli.launch import RUN_OPTIONS
from kev.cli.launch import main as run_without_click
from kev.cli.main import kev
from kev.cli.options import described, parse
from kev.spec.fields import FIELDS, Arity, field_named
from kev.spec.machine_spec import MachineSpec
from tests.cli.programs import kernel
from tests.machine.specs import SPECS, TEXTS


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("image", required=False)
@add_options(RUN_OPTIONS)
def by_click(**given: Any) -> None:
    """The same table, read by click."""


def read_by_click(words: list[str]) -> dict[str, Any] | None:
    """What click reads; None for what it says something about."""
    try:
        return dict(by_click.make_context("kev", list(words)).params)
    except (click.ClickException, click.exceptions.Exit):
        return None


SWITCHES = sorted({switch for option in RUN_OPTIONS for switch in (*option.switches, option.denial) if switch})
WORDS = st.one_of(
    st.sampled_from(SWITCHES),
    st.sampled_from(
        ["gKeOS", "2", "256M", "--", "-", "", "-h", "--help", "-x", "--s", "--smpp", "-m256M", "-m=1", "-mm", "--=", "---"]
    ),
    st.builds("{}={}".format, st.sampled_from(SWITCHES), TEXTS),
    TEXTS,
)


@given(st.lists(WORDS, max_size=8))
def test_what_is_read_without_click_is_what_click_reads(words: list[str]) -> None:
    without = parse(words, RUN_OPTIONS, "image")
    if without is not None:
        assert without == read_by_click(words)


@given(SPECS)
def test_what_a_command_line_can_say_is_read_without_click(spec: MachineSpec) -> None:
    words = spec.to_arguments()
    without = parse(words, RUN_OPTIONS, "image")
    assert without is not None
    assert without == read_by_click(words)
    assert described(without) == (spec if spec.image else spec.replace(image="gKeOS"))


def test_cds_come_behind_the_disks() -> None:
    given = parse(["--cdrom", "a,b.iso", "--disk", "c.img,ide", "--cdrom", "d.iso"], RUN_OPTIONS, "image")
    assert given is not None
    spec = described(given, may_start_disk=True)
    assert [str(disk) for disk in spec.disks] == ["c.img,ide", "a,b.iso,cdrom", "d.iso,cdrom"]
    assert not spec.image


def test_every_field_of_a_description_is_an_option() -> None:
    assert {"image", *(field.name for field in FIELDS)} == set(MachineSpec._fields)
    assert all(field.arity is not Arity.MANY or MachineSpec().given().get(field.name, ()) == () for field in FIELDS)


@pytest.mark.parametrize(("name", "values"), [("boot", PROTOCOLS), ("abi", ABIS)])
def test_the_help_of_an_option_lists_all_of_its_values(name: str, values: Iterable[str]) -> None:
    *others, last = values
    field = field_named(name)
    assert field is not None
    assert f"{', '.join(others)} or {last}.  [default: " in field.help


def run(*arguments: str) -> Result:
    return CliRunner().invoke(kev, ["run", *arguments], prog_name="kev")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["race", "explore", "--preemptions", "9" * 5000], "Invalid value for '--preemptions': '9999"),
        (["run", "--timeout", "9" * 30], f"--timeout: '{'9' * 30}': it must be seconds, more than 0 and at most 1,000,000,000"),
        (["run", "--timeout", "nan"], "--timeout: 'nan': it must be seconds, more than 0 and at most 1,000,000,000, such as 2.5, "),
        (["run", "--disk", "x,foo"], "--disk: x,foo: 'foo': there is no such device for a disk, and a name with a comma in it"),
        (["run", "--timeline"], "--timeline: it is a part of the report: add --report FILE.json"),
        (["run", "--trace", "-", "--report", "-"], "--report and --trace cannot both be standard output: name a file"),
        (["run", "--log-level", "debgu"], "--log-level: 'debgu' is not among its values: is it 'debug'? There are "),
        (["run", "--smpp", "2"], "No such option '--smpp'"),
        (
            ["run", "a", "b"],
            "Got unexpected extra argument (b): one IMAGE is launched; the kernel's command line goes behind --append",
        ),
        (["inspect", "a", "b", "c"], "Got unexpected extra arguments (b c): one IMAGE is launched; "),
        (["report"], "Missing argument 'RUN...': kev report [OPTIONS] RUN..."),
        (["fs", "cat", "x"], "Missing argument 'NAME': kev fs cat [OPTIONS] IMAGE NAME"),
        (["completion", "bash"], "kev has no command 'completion': type eval \"$(_KEV_COMPLETE=bash_source kev)\""),
        (["version"], "kev has no command 'version': type kev --version"),
        (["help", "runn"], "kev has no command 'runn'. Is it 'run'? It has run, inspect, "),
        (["run", "--spec", "/nowhere.toml"], "/nowhere.toml: cannot be read: No such file or directory"),
        (["run", "gkeos"], "gkeos: there is no such file, and no such guest on the root file system: is it 'gKeOS'? (`kev guests`"),
        (
            ["run", "race.elf"],
            "race.elf: there is no such file, and no such guest on the root file system (`kev guests` lists them)",
        ),
        (
            ["run", "./gKeOS"],
            "./gKeOS: there is no such file, and no such guest on the root file system: is it 'gKeOS'? (`kev guests`",
        ),
        (["run", "./smpp"], "./smpp: there is no such file, and no such guest on the root file system (`kev guests` lists them)"),
        (["run", "."], ".: is a folder"),
        (["run", "m.toml"], "IMAGE: 'm.toml': a description of a machine is no image: say --spec m.toml"),
        (["run", "mb1", "--module", "nosuch text"], "module nosuch: cannot be opened: No such file or directory"),
        (["run", "--max-pages", "0"], "--max-pages: '0': it must be 1 to 281474976710656"),
        (["run", "--max-output", "many"], "--max-output: 'many': it must be 1 to 281474976710656 bytes, or a size such as 16M"),
        (["run", "\x1b[31m\nx" * 999], "\\x1b[31m\\nx"),
        (["bench", "boot", "--latency", "nan"], "Invalid value for '--latency': 'nan' is not 0 to 1e+06 milliseconds"),
        (["bench", "boot", "nosuch"], "nosuch: there is no such file"),
        (["race", "detct", "smp"], "Is it `kev race detect`? Got unexpected extra argument (smp)"),
        (["run", "echo", "-smp", "2"], "No such option '-s' in -smp: is it --smp?"),
        (["start", "-append=x"], "No such option '-p' in -append: is it --append?"),
        (["run", "-kernel", "echo"], "No such option '-k' in -kernel: the image is named without an option: kev run FILE"),
        (["run", "-hda", "disk"], "No such option '-d' in -hda: say --disk FILE,ide"),
        (["run", "echo", "-s"], "No such option '-s': say --gdb 1234"),
        (["run", "-xyz"], "No such option '-x'\n"),
        (["gKeOS"], "kev has no command 'gKeOS': type kev run gKeOS"),
        (["list"], "kev has no command 'list': type kev guests"),
        (
            ["run", "--timeout", "2d"],
            "--timeout: '2d': it must be seconds, more than 0 and at most 1,000,000,000, such as 2.5, ",
        ),
        (["run", "--paging", "own.py:Policy"], "--paging: 'own.py:Policy': a module is named without its ending: own:Policy"),
        (["run", "memory://x"], "memory://x: cannot be read: FileNotFoundError: /x"),
        (
            ["race", "lost-update", "--smp", "2", "--after", "wrk"],
            "lost-update has ended before output:wrk (exit code 0); if ",
        ),
        (["bench", "boot", "--jobs", "x", "--on", "y"], "No such option '--jobs'"),
        (["batch", "--jobs", "x", "y"], "Invalid value for '--jobs': 'x': it must be a whole number, 1 to 256"),
        (["runn"], "kev has no command 'runn'. Is it 'run'? It has run, inspect, "),
        (["fs", "sl"], "No such command 'sl'"),
        (["bench", "boot", "--rounds", "0"], "Invalid value for '--rounds': '0': it must be a whole number, 1 or more"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(kev, arguments, prog_name="kev")
    assert result.stderr.startswith(f"kev: {message}")
    assert result.stderr.count("\n") == 1
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize("command", [[], ["run"], ["race"], ["race", "explore"], ["bench", "boot"]])
def test_help_is_asked_for_in_front_of_a_command_or_behind_it(command: list[str]) -> None:
    before = CliRunner().invoke(kev, ["help", *command], prog_name="kev")
    behind = CliRunner().invoke(kev, [*command, "--help"], prog_name="kev")
    assert (before.exit_code, before.stdout) == (0, behind.stdout)
    assert behind.stdout.startswith(" ".join(["Usage: kev", *command]))


@pytest.mark.parametrize("arguments", [["hypercalls"], ["no-such-guest"], ["hypercalls", "--smp", "x"], ["triple"]])
def test_a_run_is_the_same_without_click(arguments: list[str], capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    exit_code = run_without_click(arguments)
    out, err = capfdbinary.readouterr()
    result = run(*arguments)
    assert (exit_code, out) == (result.exit_code, result.stdout_bytes)
    assert err.splitlines()[:1] == result.stderr_bytes.splitlines()[:1] or b"loaded" in err.splitlines()[0]


def test_memory_without_a_unit_is_in_mib() -> None:
    assert "loaded 170 of 16,384 pages" in run("gKeOS", "-m", "64").stderr


def test_a_machine_is_described_by_a_file_and_options_override_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "machines"
    folder.mkdir()
    (folder / "module").write_text("contents of the module")
    (folder / "m.toml").write_text(
        'image = "mb2info"\nmemory = "64M"\ncommand_line = "of the file"\nmodules = ["module its text"]\n', encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    result = run("--spec", "machines/m.toml", "--append", "of the option")
    assert result.exit_code == 0
    assert "of the option" in result.stdout
    assert "of the file" not in result.stdout
    assert "its text" in result.stdout
    assert "of 16,384 pages" in result.stderr


def test_a_printed_description_describes_the_same_machine(tmp_path: Path) -> None:
    printed = run("smp", "--append", 'say "hello"', "--disk", "x,ide", "--print-spec")
    assert printed.exit_code == 0
    file = tmp_path / "m.toml"
    file.write_text(printed.stdout, encoding="utf-8")
    again = run("--spec", str(file), "--print-spec")
    assert again.stdout == printed.stdout.replace('path = "x"', f'path = "{tmp_path}/x"')
    lines = set(printed.stdout.splitlines())
    assert {'image = "smp"', "vcpus = 4", 'memory = "256M"', r'command_line = "say \"hello\""'} <= lines


def test_a_guest_ends_with_its_own_exit_code_if_nobody_can_read_the_closing_lines() -> None:
    command = f"{shlex.quote(sys.executable)} -m kev run hypercalls 2>&-"
    result = subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    assert result.stdout == b"printed by a hypercall\n"
    assert result.returncode == 42


def test_a_pipe_that_does_not_block_gets_all_that_is_printed() -> None:
    imports = "import os; from kev.cli.standard_output import StandardOutput"
    program = f"{imports}; os.set_blocking(1, False); StandardOutput().write(b'x' * 5_000_000)"
    result = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
    assert result.stdout == b"x" * 5_000_000


@pytest.mark.parametrize(
    "words", [["run", "hypercalls", "--report", "x"], ["batch", "hypercalls"], ["ept", "build", "-m", "2M", "-o", "x"]]
)
def test_a_working_directory_that_is_gone_is_said(tmp_path: Path, words: list[str]) -> None:
    script = 'rmdir "$PWD"; exec "$@"'
    command = ["sh", "-c", script, "sh", sys.executable, "-c", "from kev.__main__ import main; main()", *words]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert process.stderr == "kev: the working directory is not there any more: go to another one\n"


def test_a_file_is_inspected_though_its_name_is_not_unicode(tmp_path: Path) -> None:
    image = tmp_path / os.fsdecode(b"k\xff.elf")
    image.write_bytes(kernel(b"\xf4"))
    result = CliRunner().invoke(kev, ["inspect", str(image)], prog_name="kev")
    assert result.exit_code == 0
    assert "segments:" in result.stdout
    assert "machine: TOML is Unicode: " in result.stdout
