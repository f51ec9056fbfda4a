"""`kev bench`, as a person at the prompt sees it."""

import csv
import json
import struct
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kev.cli.main import kev
from kev.measure.errors import BenchError
from kev.measure.processes import BANNER, kev_run, measure_process

pytestmark = pytest.mark.slow


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(kev, ["bench", *arguments], prog_name="kev")


def test_boot_measures_every_policy_and_writes_all_values(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    options = ("--only", "image", "--image", "2M", "--latency", "0", "--only", "violation")
    result = bench("boot", "--rounds", "1", *options, "--json", str(file))
    # Whether targets are met depends on the machine.
    assert result.exit_code in (0, 1), result.stderr
    assert "a violation, beyond the host's zero-fill" in result.stdout
    *images, violation = json.loads(file.read_text(encoding="utf-8"))["cases"]
    assert [case["parameters"] for case in images] == [
        {"image": "2M", "policy": policy, "latency": "0ms"} for policy in ("lazy", "eager", "around=16", "prefetch")
    ]
    assert all(case["metrics"]["first_output_ms"]["values"] for case in images)
    assert violation["metrics"]["zero_page_us"]["median"] > 0


def test_a_picture_is_drawn_of_what_was_measured(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "picture.png"
    bench("boot", "--rounds", "1", "--only", "memory", "--ram", "64M", "--ram", "1G", "--png", str(file))
    data = file.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (1800, 1260)


def test_a_picture_of_too_few_rounds_has_no_intervals(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "boot.svg"
    for rounds, has_intervals in ((1, False), (6, True)):
        words = ["bench", "boot", "hypercalls", "--paging", "lazy", "--rounds", str(rounds), "--picture", str(picture)]
        assert CliRunner().invoke(kev, words).exit_code == 0
        assert ("LineCollection" in picture.read_text(encoding="utf-8")) == has_intervals


def test_a_machine_that_is_described_is_measured_by_policy(tmp_path: Path) -> None:
    file = tmp_path / "values.json"
    assert bench("boot", "hypercalls", "-m", "64M", "--rounds", "1", "--json", str(file)).exit_code == 0
    cases = json.loads(file.read_text(encoding="utf-8"))["cases"]
    assert [case["parameters"] for case in cases] == [
        {"image": "hypercalls", "policy": policy} for policy in ("lazy", "eager", "around=16")
    ]


def test_a_machine_that_prints_nothing_cannot_be_measured() -> None:
    result = bench("boot", "spin", "--paging", "lazy", "--timeout", "0.1", "--rounds", "1")
    assert result.exit_code == 2
    assert "kev: spin: did not boot: timed out after 0.1 s" in result.stderr


def test_a_scenario_there_is_not_is_refused() -> None:
    result = bench("boot", "--only", "nothing")
    assert result.exit_code == 2
    assert result.stderr == "kev: no scenario is named 'nothing': there are launch, image, memory, source, cache, violation\n"


def test_compare_says_what_changed_beyond_noise(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    for file, values in ((old, [10.0, 11.0] * 3), (new, [20.0, 21.0] * 3)):
        case = {"scenario": "a", "parameters": {}, "command": [], "metrics": {"end_ms": {"values": values}}}
        file.write_text(json.dumps({"format": "kev bench 1", "environment": {}, "rounds": 2, "cases": [case]}))
    result = bench("compare", str(old), str(new))
    assert result.stdout.splitlines() == [
        " 1.95x  a: end_ms 10.50 [10.00-11.00] -> 20.50 [20.00-21.00]",
        "1 of 1 figures changed beyond noise",
    ]
    assert result.exit_code == 0
    assert bench("compare", "--fail", str(old), str(new)).exit_code == 1
    assert bench("compare", "--fail", str(new), str(old)).exit_code == 0
    assert bench("compare", str(old), str(old)).stdout == "0 of 1 figures changed beyond noise\n"
    assert "noise  a: end_ms" in bench("compare", "--all", str(old), str(old)).stdout


def test_too_few_rounds_to_compare_are_said_and_no_success(tmp_path: Path) -> None:
    file = tmp_path / "few.json"
    assert bench("boot", "hypercalls", "--paging", "lazy", "--rounds", "1", "--json", str(file)).exit_code == 0
    told = bench("compare", str(file), str(file))
    assert told.stdout == "0 of 6 figures changed beyond noise; 6 cannot be told: of fewer than 6 rounds\n"
    assert told.exit_code == 0
    assert bench("compare", "--fail", str(file), str(file)).exit_code == 2


OWN = """
from kev.pager.policy import Around

class Wide(Around):
    def __init__(self):
        super().__init__(64)

reads = []

class Noted:
    def __init__(self, inner):
        self.name, self.size, self.inner = inner.name, inner.size, inner

    def read_into(self, offset, buffer):
        reads.append(offset)
        return self.inner.read_into(offset, buffer)

text = "no policy"
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's own, in the working directory."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return name


def test_own_policies_and_sources_are_measured_beside_kevs_cold_and_warm(own: str) -> None:
    words = ("--rounds", "1", "--paging", f"{own}:Wide", "--source", f"{own}:Noted", "--cold", "--csv", "out.csv")
    result = bench("boot", "hypercalls", *words)
    assert result.exit_code == 0, result.stderr
    rows = list(csv.DictReader(Path("out.csv").read_text(encoding="utf-8").splitlines()))
    cases = dict.fromkeys((row["policy"], row["cache"]) for row in rows)
    assert list(cases) == [
        (policy, cache) for policy in ("lazy", "eager", "around=16", f"{own}:Wide") for cache in ("warm", "cold")
    ]
    assert {row["metric"] for row in rows if row["cache"] == "cold"} >= {"first_output_ms", "cached_kib"}
    assert sys.modules[own].reads


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ("--paging={}:Wde", "AttributeError"),
        ("--paging={}x:Wide", "ModuleNotFoundError"),
        ("--paging={}:text", "is a str, and cannot be called"),
        ("--paging={}:Noted.read_into.x", "AttributeError"),
        ("--source={}", "it must be module:name"),
    ],
)
def test_what_is_ones_own_and_not_there_is_said_in_a_line(own: str, wish: str, message: str) -> None:
    result = bench("boot", "hypercalls", wish.format(own))
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert message in result.stderr


def test_all_single_runs_are_written_as_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "out.parquet"
    assert bench("boot", "hypercalls", "--paging", "lazy", "--rounds", "1", "--parquet", str(file)).exit_code == 0
    table = parquet.read_table(file)
    assert table.column_names == ["scenario", "image", "policy", "metric", "round", "run", "value"]
    assert {*table["metric"].to_pylist()} >= {"first_output_ms", "violations"}
    assert table.schema.metadata[b"kev"]


def test_parquet_without_pyarrow_is_refused_before_anything_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = bench("boot", "hypercalls", "--parquet", str(tmp_path / "out.parquet"))
    assert result.exit_code == 2
    assert result.stderr == f"kev: {tmp_path / 'out.parquet'}: Parquet needs pyarrow: `pip install kev-hypervisor[parquet]`\n"


def test_a_picture_without_matplotlib_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = bench("boot", "hypercalls", "--picture", str(tmp_path / "out.svg"))
    assert result.exit_code == 2
    assert result.stderr == f"kev: {tmp_path / 'out.svg'}: a picture needs matplotlib: `pip install kev-hypervisor[bench]`\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
def test_a_picture_that_cannot_be_written_is_a_line() -> None:
    pytest.importorskip("matplotlib")
    result = bench("boot", "hypercalls", "--paging", "lazy", "--rounds", "1", "--picture", "/dev/full")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == "kev: /dev/full: cannot be written: No space left on device"


def test_results_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    result = bench("compare", str(tmp_path / "old"), str(tmp_path / "new"))
    assert result.exit_code == 2
    assert result.stderr == f"kev: {tmp_path / 'old'}: cannot be read: No such file or directory\n"


def test_a_process_is_measured_to_the_first_byte_of_the_text() -> None:
    program = f"import sys, time; sys.stdout.buffer.write(b'firmware' + {BANNER!r}); sys.stdout.flush(); time.sleep(60)"
    assert measure_process([sys.executable, "-c", program])["first_output_ms"] > 0


def test_a_process_that_ends_without_the_text_is_no_measurement() -> None:
    with pytest.raises(BenchError, match=r"ended without printing b'gKeOS.*: something is missing$"):
        measure_process([sys.executable, "-c", "import sys; print('hello'); sys.exit('something is missing')"])


def test_kev_itself_is_measured_as_a_process() -> None:
    assert measure_process(kev_run("gKeOS"))["first_output_ms"] > 0
