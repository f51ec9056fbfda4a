"""`python -m bench --quick`: every benchmark runs, and says what it promises to."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench.__main__ import main
from bench.machines import QEMU

pytestmark = pytest.mark.slow


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def measured(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    """What one benchmark writes as JSON, by the names of its results."""
    file = folder / "bench.json"
    result = bench(name, "--quick", "--json", str(file))
    assert result.exit_code == 0, result.output
    (results,) = json.loads(file.read_text(encoding="utf-8"))["benchmarks"].values()
    return {result["name"].strip(): result for result in results}


def targets(results: dict[str, dict[str, Any]]) -> dict[str, float]:
    return {name: result["limit"] for name, result in results.items() if result.get("limit") is not None}


def test_violations_of_each_kind_stand_beside_the_hosts_own_zero_fill(tmp_path: Path) -> None:
    results = measured(tmp_path, "violations")
    assert {"page of zeros, written", "page of a file, read", "page of code, executed"} < set(results)
    assert all(result["median"] > 0 for name, result in results.items() if name.startswith(("page", "host")))
    assert set(targets(results).values()) == {3}


def test_launches_are_measured_for_small_and_large_machines_and_images(tmp_path: Path) -> None:
    results = measured(tmp_path, "launch")
    assert {"RAM of 1 TiB, image of 1 MiB", "RAM of 16 GiB, image of 4 GiB"} < set(results)
    assert targets(results) == {"the slowest by the fastest": 1.2}


def test_memory_is_that_of_a_guest_with_64_gibibytes(tmp_path: Path) -> None:
    results = measured(tmp_path, "memory")
    assert targets(results) == {"kev run gKeOS, RAM of 64 GiB": 80}
    assert all(result["median"] > 1 for result in results.values())


def test_speed_is_measured_on_kev_and_on_qemu_where_it_is_installed(tmp_path: Path) -> None:
    results = measured(tmp_path, "speed")
    assert {"kev", "kev, number of vCPUs that share the work: 4"} < set(results)
    assert all(result["median"] > 0 for name, result in results.items() if name.startswith("kev"))
    skipped = {name for name, result in results.items() if "skipped" in result}
    assert skipped == (set() if QEMU else {"QEMU"})


def test_every_exit_and_event_with_a_target_is_measured(tmp_path: Path) -> None:
    results = targets(measured(tmp_path, "exits"))
    in_place = {"CPUID", "IN", "OUT", "RDMSR", "WRMSR", "RDTSC", "MMIO load", "MMIO store", "VMCALL"}
    assert {name for name, limit in results.items() if limit == 6} == in_place
    assert results["vCPU switch"] == 12
    assert sorted(limit for name, limit in results.items() if name not in in_place) == [12, 20, 20]


def test_shortcuts_are_measured_beside_exits(tmp_path: Path) -> None:
    results = measured(tmp_path, "shortcuts")
    assert sorted(targets(results).values()) == [0.1, 0.2, 0.5, 30]
    assert results["xAPIC load: the current count"]["median"] > 0


def test_imports_are_measured_beside_the_first_output(tmp_path: Path) -> None:
    results = measured(tmp_path, "imports")
    assert targets(results) == {"imports of kev --version": 60}
    assert results["kev run mb1: start to first output"]["median"] > 0


def test_forks_are_measured_beside_launches_and_leave_nothing_behind(tmp_path: Path) -> None:
    results = measured(tmp_path, "fork")
    assert results["launch of gKeOS, warm, to where it was forked"]["median"] > 0
    assert targets(results)["fork of gKeOS to its next instruction"] == 0.8
    left = [result["median"] for name, result in results.items() if name.endswith("added")]
    assert left == [0, 0]


def test_machines_go_on_exactly_and_are_never_saved_by_half(tmp_path: Path) -> None:
    results = measured(tmp_path, "snapshots")
    assert results["64 MiB touched"]["median"] > 0
    assert {"the slowest by the fastest", "the same in time of the processor"} < set(targets(results))
    failures = [result for name, result in results.items() if name.endswith(("otherwise", "half a snapshot was there"))]
    assert [result["median"] for result in failures] == [0, 0]


def test_no_walk_is_longer_than_promised(tmp_path: Path) -> None:
    results = measured(tmp_path, "walks")
    assert {name.partition(":")[0] for name in results} == {"violation", "port write", "disk request"}
    assert all(result["min"] > 0 for result in results.values())
    assert not [name for name, result in results.items() if not result["met"]]


def test_the_table_says_what_machine_the_figures_are_of_and_whether_targets_are_met() -> None:
    lines = bench("launch", "--quick").output.splitlines()
    assert lines[0].startswith("processor ")
    assert sum(line.endswith(("at most 1.2: met", "at most 1.2: MISSED")) for line in lines) == 2


@pytest.mark.parametrize("name", ["nothing", "host"])
def test_what_is_no_benchmark_is_refused_by_name(name: str) -> None:
    result = bench(name)
    assert result.exit_code == 2
    assert repr(name) in result.output
