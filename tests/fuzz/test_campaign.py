"""A campaign of random guests is counted in a file, and goes on where it was."""

import json
from pathlib import Path

import pytest

from tests.fuzz.campaign import main
from tests.fuzz.streams import MODES


def test_what_is_in_the_file_is_not_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "results"
    assert main([str(file), "--count", "3", "--seeded", "0"]) == 0
    first = file.read_text(encoding="utf-8")
    parts = [json.loads(line) for line in first.splitlines()]
    assert [part["bits"] for part in parts] == list(MODES)
    assert [sum(part["counts"].values()) + len(part["lost"]) for part in parts] == [3] * len(MODES)
    assert main([str(file), "--count", "3", "--seeded", "2"]) == 0
    assert file.read_text(encoding="utf-8").startswith(first)
    assert len(file.read_text(encoding="utf-8").splitlines()) == 2 * len(MODES)
    assert "64 bits, with a seed: 2 guests, " in capsys.readouterr().out


def test_a_guest_that_kev_fails_on_fails_the_campaign(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "results"
    lost = {"number": 7, "how": "ended with exit code 97", "is_ours": True, "place": "its guest had not begun"}
    part = {"bits": 16, "seeded": False, "first": 0, "count": 4, "seconds": 0.5, "counts": {"died": 3}, "lost": [lost]}
    file.write_text(json.dumps(part) + "\n", encoding="utf-8")
    assert main([str(file), "--count", "0", "--seeded", "0"]) == 1
    assert "4 guests, 125.0 ms each (3 died; of 1 the process ended with exit code 97)" in capsys.readouterr().out
