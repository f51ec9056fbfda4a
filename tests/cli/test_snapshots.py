"""Snapshots on the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kev.cli.launch import main as run_command
from kev.cli.main import kev as cli


def run(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int | None, str, str]:
    """The exit code, and what is on stdout and stderr."""
    code = run_command(words)
    return code, *capfd.readouterr()


def saved(folder: Path, capfd: pytest.CaptureFixture[str], condition: str = "output:ok 6", guest: str = "smp") -> tuple[Path, str]:
    """A snapshot where a guest meets a condition, and what the guest prints in all."""
    _, out, err = run(capfd, guest, "--seed", "7", "--snapshot-at", condition, str(folder / "snapshot"))
    assert err.count("\n") == 2, err  # how it ended, and the figures
    return folder / "snapshot", out


@pytest.mark.parametrize(
    ("guest", "condition"),
    [("smp", "output:ok 6"), ("smp", "instructions:100000"), ("smp", "hypercall"), ("lost-update", "symbol:main")],
)
def test_a_run_goes_on_where_it_met_a_condition(
    folder: Path, capfd: pytest.CaptureFixture[str], guest: str, condition: str
) -> None:
    snapshot, whole = saved(folder, capfd, condition, guest)
    for words in ([str(snapshot)], ["--restore", str(snapshot)]):
        _, out, _ = run(capfd, *words)
        assert out
        assert whole.endswith(out)
    if condition == "output:ok 6":
        assert out.startswith("ok 7")


def test_where_pages_have_to_be_awaited_a_run_stands_still_for_its_snapshot(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """First of an image's pages, then of a snapshot's, some of which nobody has touched since."""
    _, whole = saved(folder, capfd)
    slow = ("--source-latency", "1ms", "--snapshot-at")
    for image, line, file in (("smp", 3, "first"), (str(folder / "first"), 9, "second")):
        _, out, err = run(
            capfd, image, *(["--seed", "7"] if image == "smp" else []), *slow, f"output:ok {line}", str(folder / file)
        )
        assert whole.endswith(out)
        assert err.count("\n") == 2, err
        _, out, _ = run(capfd, str(folder / file))
        assert out.startswith(f"ok {line + 1} ")
        assert whole.endswith(out)


def test_a_condition_that_is_never_met_is_told_at_the_end(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capfd, "smp", "--snapshot-at", "output:never", str(folder / "snapshot"))
    assert code == 2
    assert out.endswith("1..14\n")
    assert err.endswith(f"kev: {folder}/snapshot: there is no snapshot: the run has ended before output:never\n")
    assert os.listdir(folder) == []


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--snapshot-at", "soon", "x"], "condition 'soon': it must be one of output:TEXT"),
        (["--snapshot-at", "output:x", "no/x"], "no/x: there is no folder"),
        (["--snapshot-at", "output:x", "x", "--gdb", "1"], "--snapshot-at: not with --gdb"),
        (["--restore", "pyproject.toml"], "'pyproject.toml': is no snapshot"),
        (["--restore", "x"], "x: there is no such file"),
        (["gKeOS", "--restore", "x"], "--restore: 'x' is what is launched: 'gKeOS' cannot be, too"),
    ],
)
def test_mistakes_are_one_line(capfd: pytest.CaptureFixture[str], words: list[str], problem: str) -> None:
    code, out, err = run(capfd, *words)
    assert (code, out) == (2, "")
    assert problem in err
    assert err.count("\n") == 1


def test_two_values_are_read_as_click_reads_them() -> None:
    for words in (["--snapshot-at", "soon"], ["--snapshot-at=soon"]):
        assert run_command(words) is None  # click has to say what is wrong
        result = CliRunner().invoke(cli, ["run", *words])
        assert result.exit_code == 2
        assert "Option '--snapshot-at' requires 2 arguments" in result.output
    assert "--snapshot-at CONDITION FILE" in CliRunner().invoke(cli, ["run", "--help"]).output


def test_the_description_of_a_snapshot_is_printed_and_can_be_given_back(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    snapshot, whole = saved(folder, capfd)
    code, out, _ = run(capfd, str(snapshot), "--paging", "eager", "--print-spec")
    assert code == 0
    assert "vcpus = 4\n" in out
    (folder / "machine.toml").write_text(out)
    code, out, _ = run(capfd, "--spec", str(folder / "machine.toml"))
    assert code == 0
    assert whole.endswith(out)


def test_a_race_goes_on_with_the_machine_of_a_snapshot(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    snapshot, _ = saved(folder, capfd)
    result = CliRunner().invoke(cli, ["race", str(snapshot), "--smp", "3"])
    assert "vcpus is 4 in the snapshot, and stays so: it cannot be 3" in result.output


def test_a_snapshot_is_inspected(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    snapshot, _ = saved(folder, capfd)
    text = CliRunner().invoke(cli, ["inspect", str(snapshot)]).output
    assert text.startswith(f"{snapshot}: a snapshot of smp, made by kev ")
    assert "seed 7\nvCPU 0: RIP 0x" in text
    assert "  image smp: " in text
    found = json.loads(CliRunner().invoke(cli, ["inspect", str(snapshot), "--json"]).output)
    assert found["machine"]["vcpus"] == len(found["vcpus"]) == 4
    pages = found["pages"]
    assert pages["present"] == pages["stored"] + pages["zero"] + pages["by_reference"] > 20
    assert found["size"] == snapshot.stat().st_size


def test_a_damaged_snapshot_is_refused_before_anything_runs(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    snapshot, _ = saved(folder, capfd)
    contents = snapshot.read_bytes()
    snapshot.write_bytes(contents[:5000] + b"!" + contents[5001:])
    code, out, err = run(capfd, str(snapshot))
    assert (code, out) == (2, "")
    assert err == f"kev: {snapshot}: section 'machine' is damaged: its CRC-32 is not the one in the header\n"
    result = CliRunner().invoke(cli, ["inspect", str(snapshot)])
    assert result.exit_code != 0


@pytest.mark.slow
def test_a_run_without_a_snapshot_imports_nothing_of_it() -> None:
    program = "from kev.cli.launch import main; import sys; main(['hypercalls']); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "kev.pager.saved" not in modules
    assert "kev.snapshot" not in modules
    assert "kev.machine.snapshot" not in modules
