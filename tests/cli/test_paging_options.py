"""The options of `kev run` that say when pages are loaded, from where, and what is written down about it."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kev.cli.loading_bar import LoadingBar
from kev.cli.main import kev
from kev.guests.images import open_root_file_system
from kev.pager.slow_source import SourceDelay
from kev.spec.errors import SpecError
from kev.spec.source_latency import parse_source_latency


def run(*arguments: str) -> Result:
    return CliRunner().invoke(kev, ["run", *arguments], prog_name="kev")


def report_of(folder: Path, *arguments: str) -> dict[str, Any]:
    file = folder / "report.json"
    result = run(*arguments, "--report", str(file))
    assert result.exit_code == 0, result.stderr
    report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return report


def test_an_eager_run_has_violations_on_ram_only(tmp_path: Path) -> None:
    report = report_of(tmp_path, "gKeOS", "--paging", "eager", "--timeline")
    assert report["pages_loaded"] >= report["image_pages"]
    regions = report["timeline"]["regions"]
    assert {regions[index]["name"] for index in report["timeline"]["violations"]["region"]} <= {"RAM"}


def test_fault_around_loads_more_pages_at_fewer_violations(tmp_path: Path) -> None:
    lazy, around = (report_of(tmp_path, "gKeOS", "--paging", paging) for paging in ("lazy", "around=16"))
    assert around["violations"] < lazy["violations"] == lazy["pages_loaded"] < around["pages_loaded"]
    assert around["paging"] == {"policy": "around=16"}


def test_a_recorded_set_is_prefetched_without_a_miss(tmp_path: Path) -> None:
    record = tmp_path / "set.json"
    recorded = report_of(tmp_path, "gKeOS", "--paging", f"record={record}")
    result = run("gKeOS", "--paging", f"prefetch={record}")
    assert "kev: 0 of them were not in the recorded working set" in result.stderr
    prefetched = report_of(tmp_path, "gKeOS", "--paging", f"prefetch={record}")
    assert prefetched["pages_loaded"] == recorded["pages_loaded"] == recorded["paging"]["recorded"]
    assert prefetched["violations"] * 10 <= recorded["violations"]


def test_the_record_of_another_image_is_refused_by_name(tmp_path: Path) -> None:
    record = tmp_path / "set.json"
    run("gKeOS", "--paging", f"record={record}")
    result = run("mb1", "--paging", f"prefetch={record}")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"kev: {record}: stale: recorded with gKeOS of ")
    assert " this is mb1 of " in result.stderr


@pytest.mark.parametrize(
    ("paging", "message"),
    [
        ("", "--paging: '': it must be lazy, eager, around=N, record=FILE or prefetch=FILE"),
        ("eager=1", "--paging: 'eager=1': it must be lazy"),
        ("around", "--paging: 'around': it must be lazy"),
        ("around=x", "--paging: 'around=x': a violation loads 1 to 512 pages"),
        ("around=1000", "--paging: 'around=1000': a violation loads 1 to 512 pages"),
        ("record=/nowhere/set", "/nowhere/set: there is no folder /nowhere"),
        ("prefetch=/nowhere", "/nowhere: cannot be read: No such file or directory"),
    ],
)
def test_a_policy_there_is_not_is_refused(paging: str, message: str) -> None:
    result = run("gKeOS", "--paging", paging)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"kev: {message}")


def test_a_slow_source_makes_the_guest_wait_and_changes_nothing_else(tmp_path: Path) -> None:
    fast = report_of(tmp_path, "gKeOS")
    slow = report_of(tmp_path, "gKeOS", "--source-latency", "100us,1GB/s,jitter=50us,seed=3")
    assert slow["page_waits"] > 100
    assert fast["page_waits"] == 0
    assert slow["violations"] == fast["violations"]


@pytest.mark.parametrize(
    ("text", "delay"),
    [
        ("2ms", SourceDelay(0.002)),
        ("0s", SourceDelay(0)),
        ("1.5ms,100MB/s", SourceDelay(0.0015, 1e8)),
        ("20us,2MiB/s,jitter=1ms,seed=7", SourceDelay(20e-6, 2 << 20, 0.001, 7)),
    ],
)
def test_a_delay_is_a_latency_and_what_one_likes_to_add(text: str, delay: SourceDelay) -> None:
    assert parse_source_latency(text) == delay


@pytest.mark.parametrize("text", ["", "2", "ms", "2 ms", "-1ms", "1ms,5", "1ms,0MB/s", "1ms,jitter=5", "1ms,seed=x", "1ms,x=1"])
def test_a_delay_that_cannot_be_understood_is_refused_with_its_part(text: str) -> None:
    with pytest.raises(SpecError, match=r"^source_latency: '.*': '.*' is n"):
        parse_source_latency(text)


def test_a_trace_is_json_that_perfetto_reads(tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    assert run("gKeOS", "--trace", str(file)).exit_code == 0
    trace = json.loads(file.read_text(encoding="utf-8"))
    assert {event["ph"] for event in trace["traceEvents"]} == {"M", "X", "b", "e", "i"}


def test_a_report_has_no_timeline_unless_asked(tmp_path: Path) -> None:
    assert "timeline" not in report_of(tmp_path, "gKeOS")
    assert "timeline" in report_of(tmp_path, "gKeOS", "--timeline")


def test_a_place_that_cannot_be_written_is_refused_before_the_run() -> None:
    result = run("gKeOS", "--trace", "/nowhere/trace.json")
    assert result.exit_code == 2
    assert result.stderr == "kev: /nowhere/trace.json: there is no folder /nowhere\n"
    assert not result.stdout


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("times", "shown"), [([0.0, 0.1, 0.2, 0.3], False), ([0.0, 0.1, 0.6, 0.7], True)])
def test_a_progress_bar_appears_only_when_loading_takes_long(
    monkeypatch: pytest.MonkeyPatch, times: list[float], shown: bool
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    clock = iter(times)
    bar = LoadingBar(lambda: next(clock))
    for done in (1, 2, 3, 4):
        bar(done, 4)
    bar.close()
    assert ("kev: loading" in terminal.getvalue()) == shown
    assert ("100%" in terminal.getvalue()) == shown


@pytest.fixture
def guest_url() -> Iterator[str]:
    fsspec = pytest.importorskip("fsspec")
    file_system = fsspec.filesystem("memory")
    with open_root_file_system() as files:
        file_system.pipe_file("/gKeOS", files.open("gKeOS").read())
    yield "memory://gKeOS"
    file_system.rm("/gKeOS")


def test_an_image_behind_a_url_boots_with_waits_for_its_blocks(tmp_path: Path, guest_url: str) -> None:
    report = report_of(tmp_path, guest_url)
    assert report["image"] == guest_url
    assert 0 < report["page_waits"] < report["violations"] == report["pages_loaded"]


def test_a_url_can_be_inspected(guest_url: str) -> None:
    result = CliRunner().invoke(kev, ["inspect", guest_url], prog_name="kev")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{guest_url}: ")


def test_a_url_is_slow_enough(guest_url: str) -> None:
    result = run(guest_url, "--source-latency", "1ms")
    assert result.exit_code == 2
    assert result.stderr == "kev: memory://gKeOS: cannot be made slower: it has a latency of its own\n"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the working directory."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(
        "from kev.pager.policy import Around\n\nclass Wide(Around):\n    def __init__(self):\n        super().__init__(32)\n"
        "\nclass Other:\n    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_policy_of_ones_own_is_named_by_its_module(own: str, tmp_path: Path) -> None:
    wide, own_wide = (report_of(tmp_path, "gKeOS", "--paging", paging) for paging in ("around=32", f"{own}:Wide"))
    assert own_wide["pages_loaded"] == wide["pages_loaded"]
    assert own_wide["violations"] == wide["violations"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("Missing", "has no attribute 'Missing'"),
        ("Other", "makes a Other, and no kev.pager.policy.PagingPolicy"),
        ("Around", "TypeError: "),
    ],
)
def test_what_is_no_policy_of_ones_own_is_refused_in_a_line(own: str, name: str, problem: str) -> None:
    result = run("gKeOS", "--paging", f"{own}:{name}")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"kev: --paging: '{own}:{name}': ")
    assert problem in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_description_imports_nothing(own: str, tmp_path: Path) -> None:
    (tmp_path / "machine.toml").write_text(f'image = "gKeOS"\npaging = "{own}:Wide"\n')
    result = run("--spec", str(tmp_path / "machine.toml"))
    assert result.exit_code == 2
    assert f"paging: '{own}:Wide': it must be lazy, eager" in result.stderr
    assert run("gKeOS", "--paging", f"{own}:Wide", "--print-spec").exit_code == 2
