"""The HTML page of runs: everything in it, nothing from elsewhere, and what it draws."""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kev.addressing import PAGE_SIZE
from kev.cli.main import kev
from kev.guests.images import open_image
from kev.machine.launcher import prepare, run
from kev.observe.html_report.page import page
from kev.observe.html_report.runs import RunFileError, labels, percentile, read_run
from kev.observe.html_report.view import view
from kev.observe.timeline import Timeline


def report_of(guest: str = "gKeOS", *, timeline: bool = True) -> dict[str, Any]:
    with open_image(guest) as (source, _):
        return run(prepare(source, timeline=Timeline() if timeline else None, output=lambda _: None), timeout=60).as_dict()


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return report_of()


def data_in(html: str) -> list[dict[str, Any]]:
    """What the page's script is given."""
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert match is not None
    return list(json.loads(match[1]))


def test_a_page_asks_nobody_for_anything(report: dict[str, Any]) -> None:
    attributes: set[str] = set()

    class Attributes(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            attributes.update(name for name, _ in attrs)

    html = page([report], ["run"])
    Attributes().feed(html)
    assert not attributes & {"src", "href", "srcset", "action", "data"}
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_a_single_run_is_introduced_by_its_headline_figures(report: dict[str, Any]) -> None:
    html = page([report], ["run"])
    assert "<h1>gKeOS</h1>" in html
    assert f'<p class="value">{report["violations"]:,}</p>' in html
    assert 'class="tiles"' not in page([report, report], ["a", "b"])


def test_several_runs_are_rows_of_one_table(report: dict[str, Any]) -> None:
    plain = report_of("hypercalls", timeline=False)
    html = page([report, plain], ["first", "second"])
    assert re.findall(r"<tr><th>(\w+)</th>", html) == ["run", "first", "second"]
    assert [shown["label"] for shown in data_in(html)] == ["first", "second"]
    assert "<h1>gKeOS, hypercalls</h1>" in html


def test_names_from_outside_cannot_leave_their_place(report: dict[str, Any]) -> None:
    evil = "</script><script>alert(1)</script>&amp;"
    functions = [evil, *report["timeline"]["functions"][1:]]
    changed = {**report, "image": evil, "timeline": {**report["timeline"], "functions": functions}}
    html = page([changed], [evil])
    assert "<script>alert" not in html
    (shown,) = data_in(html)
    assert shown["label"] == evil
    assert evil in {entry["name"] for entry in shown["functions"]}


def test_every_loaded_page_has_its_place_in_the_picture_of_memory(report: dict[str, Any]) -> None:
    regions = view(report, "run")["memory"]
    assert [region["name"] for region in regions][:2] == [".boot", ".page_tables"]
    addresses = {
        region["start"] + index * PAGE_SIZE for region in regions if region["pagesPerCell"] == 1 for index, *_ in region["cells"]
    }
    loads = report["timeline"]["loads"]
    assert addresses == {gpa for gpa in loads["gpa"] if gpa >= regions[0]["start"]}
    ram = regions[-1]
    assert (ram["name"], ram["pages"], ram["pagesPerCell"]) == ("RAM", 65536, 128)
    assert sum(cell[2] for cell in ram["cells"]) == ram["loaded"] == report["pages_loaded"] - len(addresses)


def test_a_cell_says_when_its_page_was_loaded_and_by_whom(report: dict[str, Any]) -> None:
    boot = view(report, "run")["memory"][0]
    ((index, time, count, function),) = boot["cells"]
    assert (index, count, function) == (0, 1, "_start")
    assert time == report["timeline"]["loads"]["time_us"][0] / 1e3


def test_lanes_service_times_and_functions_count_every_violation(report: dict[str, Any]) -> None:
    shown = view(report, "run")
    assert sum(len(lane["times"]) for lane in shown["lanes"]) == report["violations"]
    assert {access for lane in shown["lanes"] for access in lane["accesses"]} == {"read", "write", "execute"}
    assert sum(sum(entry["counts"]) for entry in shown["service"]["bins"]) == report["violations"]
    assert sum(entry["pages"] for entry in shown["functions"]) == report["violations"]
    assert shown["functions"][0]["name"] == "start_subsystems"
    assert shown["loads"]["counts"][-1] == report["pages_loaded"]
    bins = shown["service"]["bins"]
    assert all(first["high"] == second["low"] for first, second in pairwise(bins))


def test_phases_lie_end_to_end(report: dict[str, Any]) -> None:
    phases = view(report, "run")["phases"]
    assert [phase["end"] for phase in phases[:-1]] == [phase["begin"] for phase in phases[1:]]
    assert phases[0]["begin"] == 0


def test_a_run_without_a_timeline_has_its_phases_only() -> None:
    shown = view(report_of("hypercalls", timeline=False), "run")
    assert set(shown) == {"label", "phases", "end", "firstOutput"}


@pytest.mark.parametrize(("values", "share", "found"), [([], 0.5, None), ([7], 0.99, 7), ([1, 2, 3, 4], 0.5, 2), ([1, 2, 3], 1, 3)])
def test_a_percentile_is_one_of_the_values(values: list[float], share: float, found: float | None) -> None:
    assert percentile(values, share) == found


def test_labels_are_the_names_of_files_and_differ() -> None:
    assert labels([Path("a/lazy.json"), Path("b/eager.json")]) == ["lazy", "eager"]
    assert labels([Path("a/run.json"), Path("b/run.json")]) == ["a/run.json", "b/run.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a report of `kev run --report`: "),
        ("[]", "not a report of `kev run --report`: it is a list of 0: it must be an object"),
        ('{"image": "x"}', "not a report of `kev run --report`: it has no 'exit_code'"),
    ],
)
def test_a_file_that_is_no_report_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "run.json"
    file.write_text(text)
    with pytest.raises(RunFileError, match="^" + re.escape(f"{file}: {message}")):
        read_run(file)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(kev, list(arguments), prog_name="kev")


def test_the_command_goes_from_runs_to_a_page(tmp_path: Path) -> None:
    run_file, html_file = tmp_path / "run.json", tmp_path / "page.html"
    assert invoke("run", "gKeOS", "--timeline", "--report", str(run_file)).exit_code == 0
    result = invoke("report", str(run_file), "--output", str(html_file))
    assert result.exit_code == 0
    assert result.stderr == f"kev: wrote {html_file}\n"
    (shown,) = data_in(html_file.read_text(encoding="utf-8"))
    assert shown["label"] == "run"
    assert shown["lanes"]


def test_a_page_does_not_take_the_place_of_a_report(tmp_path: Path) -> None:
    run_file, link = tmp_path / "run.json", tmp_path / "link"
    assert invoke("run", "hypercalls", "--report", str(run_file)).exit_code == 42
    link.symlink_to(run_file)
    before = run_file.read_bytes()
    for output in (run_file, link):
        result = invoke("report", str(run_file), "--output", str(output))
        assert (result.exit_code, result.stderr) == (
            2,
            f"kev: --output: {output}: is one of the reports, and would be replaced\n",
        )
    assert run_file.read_bytes() == before


def test_the_command_names_a_run_that_is_not_there(tmp_path: Path) -> None:
    result = invoke("report", str(tmp_path / "none.json"), "-o", str(tmp_path / "page.html"))
    assert result.exit_code == 2
    assert result.stderr == f"kev: {tmp_path / 'none.json'}: cannot be read: No such file or directory\n"
