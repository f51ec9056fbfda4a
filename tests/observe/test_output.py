"""Files that are written about runs."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from kev.errors import KevError
from kev.measure.result import BenchResult
from kev.observe.html_report.runs import read_run
from kev.observe.output import OutputError, check_writable, write_bytes, write_json, write_text
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


def test_a_fifo_that_nobody_reads_is_given_up(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(OutputError, match=r"fifo: cannot be written: nobody has come to read it within 0\.01 s$"):
        write_bytes(fifo, b"text", patience=0.01)


def test_a_link_that_may_not_be_followed_is_refused_by_name() -> None:
    link = "/proc/1/root"
    try:
        os.readlink(link)
    except PermissionError:
        with pytest.raises(OutputError, match=link):
            check_writable(link)
    except FileNotFoundError:
        pytest.skip("there is no /proc")
    else:
        pytest.skip("whoever runs this may follow every link")


WRITER = """
import os, sys
from kev.observe.output import check_writable, write_text
os.write(1, b"printed\\n")
check_writable(sys.argv[1])
write_text(sys.argv[1], "written\\n")
"""


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "link"])
def test_a_descriptor_of_ones_own_is_written_behind_what_was_printed(tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to("/dev/stdout")
    with (tmp_path / "output").open("wb") as output:
        subprocess.run([sys.executable, "-c", WRITER, str(tmp_path / name)], stdout=output, check=True)
    assert (tmp_path / "output").read_text() == "printed\nwritten\n"


@pytest.mark.parametrize(("stream", "what"), [("stdout", "standard output"), ("stderr", "standard error")])
def test_a_file_that_is_printed_to_is_not_replaced(tmp_path: Path, stream: str, what: str) -> None:
    with (tmp_path / "output").open("wb") as output:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {stream: output}
        result = subprocess.run([sys.executable, "-c", WRITER, str(tmp_path / "output")], **pipes, check=False)
    said = (result.stderr or b"").decode() + (tmp_path / "output").read_text()
    assert f"output: {what} goes there, too, and would be lost" in said


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "'': it must be the name of a file"),
        ("folder", "folder: is a folder"),
        ("loop", "loop: is a link that leads to itself"),
        ("nowhere/file", "nowhere/file: there is no folder "),
        ("n" * 300, "n" * 99),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
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
