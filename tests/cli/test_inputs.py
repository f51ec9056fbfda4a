"""Files that commands read may be standard input, `-`, or come through a pipe."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kev.cli.main import kev

KEV = [sys.executable, "-c", "from kev.__main__ import main; main()"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    for words in (
        f"run hypercalls --report {folder}/run.json --paging record={folder}/set.json",
        f"bench boot hypercalls --paging lazy --rounds 1 --json {folder}/bench.json",
    ):
        CliRunner().invoke(kev, words.split())
    (folder / "machine.toml").write_text('image = "hypercalls"\n', encoding="utf-8")
    (folder / "batch.jsonl").write_text(json.dumps({"image": "hypercalls"}) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("file", "words", "exit_code", "said"),
    [
        ("bench.json", "bench compare bench.json FILE", 0, "cannot be told"),
        ("run.json", "report FILE -o page.html", 0, "kev: wrote page.html"),
        ("set.json", "record merge set.json FILE -o both.json", 0, "1 pages, 1 of them in all of 2 working sets"),
        ("machine.toml", "run --spec FILE", 42, "printed by a hypercall"),
        ("batch.jsonl", "batch -", 0, "1 of 1 machines have ended well"),
    ],
)
@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_an_input_may_come_through_a_pipe(folder: Path, file: str, words: str, exit_code: int, said: str, name: str) -> None:
    process = subprocess.run(
        [*KEV, *(word if word != "FILE" else name for word in words.split())],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        input=(folder / file).read_bytes(),
        capture_output=True,
        check=False,
    )
    assert process.returncode == exit_code, process.stderr
    assert said in (process.stdout + process.stderr).decode()


def test_no_input_is_no_success() -> None:
    for words in (["batch", "-"], ["bench", "compare", "-", "-"], ["run", "--spec", "/dev/stdin", "--boot", "x"]):
        result = CliRunner().invoke(kev, words, prog_name="kev", input="")
        assert result.exit_code == 2
        assert result.stderr.count("\n") == 1
