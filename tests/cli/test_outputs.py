"""Files that commands write: any of them may be standard output, `-`, and then nothing else is there."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kev.cli.main import kev
from kev.page_tables.table_file import MAGIC


def run(*words: str) -> Result:
    return CliRunner().invoke(kev, words, prog_name="kev")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Has what commands read: a report and a working set."""
    folder = tmp_path_factory.mktemp("outputs")
    run("run", "hypercalls", "--report", str(folder / "run.json"), "--paging", f"record={folder / 'set.json'}")
    return folder


def svg(text: bytes) -> None:
    assert ET.fromstring(text).tag.endswith("svg")


def csv_table(text: bytes) -> None:
    rows = list(csv.reader(text.decode().splitlines()))
    assert len({len(row) for row in rows}) == 1
    assert len(rows) > 2


def begins(magic: bytes) -> Callable[[bytes], None]:
    def check(data: bytes) -> None:
        assert data.startswith(magic)

    return check


BENCH = "bench boot hypercalls --paging lazy --rounds 1"


@pytest.mark.parametrize(
    ("words", "check", "said"),
    [
        (f"{BENCH} --json -", json.loads, "medians of 1 round,"),
        (f"{BENCH} --csv -", csv_table, "medians of 1 round,"),
        ("report FOLDER/run.json -o -", begins(b"<!doctype html>"), "kev: wrote standard output"),
        ("record merge FOLDER/set.json -o -", json.loads, "1 pages, 1 of them in all of 1 working sets"),
        ("ept build --memory 2M -o -", begins(MAGIC), "EPT of a machine of 2M"),
        ("ept build --memory 2M --svg -", svg, "EPT of a machine of 2M"),
        ("ept dump --memory 2M --svg -", svg, "EPT of a machine of 2M"),
        ("race explore eviction-against-store --strategy random --state FOLDER --svg -", svg, "shrunk to"),
    ],
)
def test_a_file_that_is_standard_output_has_it_for_itself(
    folder: Path, words: str, check: Callable[[bytes], Any], said: str
) -> None:
    result = run(*words.replace("FOLDER", str(folder)).split())
    assert result.exit_code in (0, 1), result.stderr
    check(result.stdout_bytes)
    assert said in result.stderr


def test_the_picture_of_a_token_goes_to_standard_output(folder: Path) -> None:
    found = run("race", "explore", "eviction-against-store", "--strategy", "random", "--state", str(folder))
    token = re.search(r"kev1-\S+ --pager \S+", found.stdout)
    assert token is not None
    result = run("race", "show", *shlex.split(token[0]), "--svg", "-")
    svg(result.stdout_bytes)
    assert "vCPU 0" in result.stderr


@pytest.mark.parametrize(
    ("words", "check"),
    [
        ("run hypercalls --report -", json.loads),
        ("run hypercalls --contained --report -", json.loads),
        ("run hypercalls --trace -", json.loads),
        ("run hypercalls --paging record=-", json.loads),
        ("run hypercalls --screenshot -", begins(b"\x89PNG")),
    ],
)
def test_a_file_of_a_run_stands_behind_what_the_guest_prints(words: str, check: Callable[[bytes], Any]) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "kev", *words.split()], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert process.returncode == 42, process.stderr
    printed = b"printed by a hypercall\n"
    assert process.stdout.startswith(printed)
    check(process.stdout.removeprefix(printed))


def test_the_figures_of_several_guests_are_written(tmp_path: Path) -> None:
    printed = run("jos", "run", "hypercalls", "hypercalls", "--report", "-")
    run("jos", "run", "hypercalls", "hypercalls", "--report", str(tmp_path / "report.json"))
    text = printed.stdout[printed.stdout.index("{") :]
    for told in (json.loads(text), json.loads((tmp_path / "report.json").read_text())):
        assert [guest["image"] for guest in told["guests"]] == ["hypercalls", "hypercalls"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run hypercalls --report - --trace -", "--report and --trace cannot both be standard output: name a file"),
        (f"{BENCH} --json - --csv -", "--json and --csv cannot both be standard output: name a file"),
        ("ept dump --memory 2M --json --svg -", "--json and --svg cannot both be standard output: name a file"),
        ("race explore --json --svg - lost-update", "--json and --svg cannot both be standard output: name a file"),
        ("run hypercalls --dump -", "-: is no regular file, which a core file has to be"),
        ("run hypercalls --snapshot-at hypercall -", "-: is no regular file, which a snapshot has to be"),
    ],
)
def test_standard_output_is_for_one_file_that_is_written_from_beginning_to_end(words: str, message: str) -> None:
    result = run(*words.split())
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"kev: {message}\n")


def test_a_picture_is_drawn_beside_json(folder: Path) -> None:
    picture = folder / "race.svg"
    words = ("race", "explore", "eviction-against-store", "--strategy", "random", "--state", str(folder), "--json")
    assert json.loads(run(*words, "--svg", str(picture)).stdout)
    svg(picture.read_bytes())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device here")
@pytest.mark.parametrize("image", ["hypercalls", "gKeOS"])
def test_output_that_is_full_does_not_take_the_report_along(tmp_path: Path, image: str) -> None:
    report = tmp_path / "report.json"
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "kev", "run", image, "--report", str(report)]
        process = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert process.returncode == 2
    assert process.stderr == "kev: standard output cannot be written: No space left on device\n"
    assert json.loads(report.read_text())["pages_loaded"] > 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device here")
@pytest.mark.parametrize(
    ("words", "read"),
    [
        (f"{BENCH} --json", json.loads),
        ("ept dump --memory 2M --svg", ET.fromstring),
        ("jos run echo --timeout 0.1 --report", json.loads),
    ],
)
def test_output_that_is_full_does_not_take_other_files_along(tmp_path: Path, words: str, read: Callable[[str], Any]) -> None:
    file = tmp_path / "file"
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "kev", *words.split(), str(file)]
        process = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert process.returncode == 2
    assert "kev: standard output cannot be written: No space left on device\n" in process.stderr
    assert read(file.read_text()) is not None


@pytest.mark.parametrize("file", ["-", "/dev/stdout"])
@pytest.mark.parametrize("words", ["run spin --timeout 0.1 --report", "record merge FOLDER/set.json -o"])
def test_a_file_that_goes_to_a_closed_output_is_refused(folder: Path, words: str, file: str) -> None:
    command = shlex.join([sys.executable, "-m", "kev", *words.replace("FOLDER", str(folder)).split(), file])
    process = subprocess.run(f"{command} >&-", shell=True, stderr=subprocess.PIPE, text=True, check=False)
    assert process.returncode == 2
    assert process.stderr == "kev: standard output cannot be written: it is closed\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (f"{BENCH} --csv new --json new", "--csv: new: is what --json writes"),
        ("bench boot kernel --paging lazy --rounds 1 --json kernel", "--json: kernel: is the image of the run"),
        ("bench restore kernel --at output:x --rounds 1 --csv kernel", "--csv: kernel: is the image of the run"),
        ("bench kernels kernel --rounds 1 --json kernel", "--json: kernel: is the image of the run"),
        ("race explore kernel --smp 2 --svg kernel", "--svg: kernel: is the image of the run"),
        ("race show token --svg token", "--svg: token: is the file of the token"),
        ("ept dump kernel --svg kernel", "--svg: kernel: is the file of the tables"),
        ("ept build --memory 2M -o new --svg new", "--svg: new: is what --output writes"),
        ("jos run kernel --report kernel", "--report: kernel: is the image of a guest"),
        ("jos run echo --disk kernel --report kernel", "--report: kernel: is the disk of a guest"),
        ("run --spec kernel --report kernel", "--report: kernel: is the description of the run"),
    ],
)
def test_a_file_that_a_command_reads_or_writes_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    contents = {"kernel": 'image = "echo"\n', "token": "kev1-AUvLzClJLVIoKCpNTUpVMDQwMAAA"}
    for name, text in contents.items():
        Path(name).write_text(text, encoding="utf-8")
    if words.startswith("race show"):
        found = run("race", "explore", "lost-update", "--smp", "2", "--state", str(tmp_path / "state"))
        token = re.search(r"kev1-\S+", found.stdout)
        assert token is not None
        contents["token"] = token[0]
        Path("token").write_text(token[0], encoding="utf-8")
    result = run(*words.split())
    assert (result.exit_code, result.stderr) == (2, f"kev: {said}, and would be replaced\n")
    assert {name: Path(name).read_text(encoding="utf-8") for name in contents} == contents
    assert not Path("new").exists()
