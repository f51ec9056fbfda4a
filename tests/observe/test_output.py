"""Files that are written about runs."""

import os
import threading
from pathlib import Path

import pytest

from kev.errors import KevError
from kev.measure.result import BenchResult
from kev.observe.html_report.runs import read_run
from kev.observe.output import OutputError, check_writable, write_json, write_text
from kev.pager.working_set import WorkingSet


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    write_text(file, "old and long")
    write_json(file, {"a": 1}, compact=True)
    assert file.read_text() == '{"a":1}\n'
    assert os.listdir(tmp_path) == ["report.json"]


def test_what_a_link_leads_to_is_replaced_and_not_the_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    check_writable(tmp_path / "link")
    write_text(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "text"


def test_a_fifo_is_written_to(tmp_path: Path) -> None:
    fifo, read = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: read.append(fifo.read_text()))
    reader.start()
    check_writable(fifo)
    write_text(fifo, "text")
    reader.join()
    assert read == ["text"]
    assert fifo.is_fifo()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("-", "-: standard output is the guest's; name a file, or ./- for one of that name"),
        ("folder", "folder: is a folder"),
        ("nowhere/file", "nowhere/file: there is no folder "),
        ("n" * 300, "n" * 99),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError) as caught:
        check_writable(name)
    assert str(caught.value).startswith(message)


def test_json_that_is_nested_too_deep_is_refused_by_whoever_reads_it(tmp_path: Path) -> None:
    text = "[" * 200_000
    file = tmp_path / "file.json"
    file.write_text(text)
    for read in (
        lambda: read_run(file),
        lambda: BenchResult.from_json(text, "results"),
        lambda: WorkingSet.from_json(text, "set"),
    ):
        with pytest.raises(KevError, match=r": not a "):
            read()
