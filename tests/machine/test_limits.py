"""Limits that a description sets, and that end a run cleanly."""

import subprocess
import sys
from pathlib import Path

import pytest

import kev
from kev.addressing import MIB
from kev.engine.amdv.libunicorn import TRANSLATED_CODE
from kev.machine.ending import EndingKind
from tests.cli.programs import FLOOD, kernel
from tests.pager.sources import BytesSource

ENDLESS = BytesSource(FLOOD)


@pytest.mark.parametrize("wishes", [{}, {"seed": 1}, {"source_latency": "1us"}, {"paging": "around=16"}, {"vcpus": 2}])
def test_a_run_ends_before_more_pages_are_loaded_than_may_be(wishes: dict[str, object]) -> None:
    report = kev.launch("gKeOS", max_pages=20, **wishes)  # type: ignore[arg-type]
    assert (report.ending.kind, report.exit_code) == (EndingKind.LIMITED, 124)
    assert report.ending.message.startswith("21 pages are needed, with that at 0x")
    assert "the limit is 20: vCPU 0 at RIP 0x" in report.ending.message
    assert report.pages_loaded == 20


def test_a_limit_holds_for_pages_that_are_loaded_ahead() -> None:
    report = kev.launch("gKeOS", max_pages=20, paging="eager")
    assert report.ending.kind is EndingKind.LIMITED
    assert report.pages_loaded <= 20
    assert report.launch_ms is None


def test_a_run_that_needs_no_more_pages_than_it_may_is_not_ended() -> None:
    needed = kev.launch("hypercalls").pages_loaded
    assert kev.launch("hypercalls", max_pages=needed).exit_code == 42


@pytest.mark.parametrize("seed", [None, 1])
def test_a_run_ends_when_more_is_printed_than_may_be(seed: int | None) -> None:
    report = kev.launch(ENDLESS, max_output=100, seed=seed)
    assert (report.ending.kind, report.exit_code) == (EndingKind.LIMITED, 124)
    assert report.ending.message.startswith("more than the 100 bytes were printed that may be: vCPU 0 at RIP 0x")
    assert report.output == (b"x" * 64 + b"\n" + b"x" * 35)


def test_a_run_that_prints_all_it_may_is_not_ended() -> None:
    output = kev.launch("hypercalls").output
    report = kev.launch("hypercalls", max_output=len(output))
    assert (report.exit_code, report.output) == (42, output)


def test_a_flood_under_a_seed_is_ended_by_its_time_limit_and_is_repeatable() -> None:
    printed: list[int] = []
    report = kev.launch(ENDLESS, seed=1, timeout=0.2, output=lambda data: printed.append(len(data)))
    assert report.ending.kind is EndingKind.TIMED_OUT
    first, second = (kev.launch(ENDLESS, seed=1, max_output="384K") for _ in range(2))
    assert (first.output, first.exits, first.ending.message) == (second.output, second.exits, second.ending.message)


@pytest.mark.slow
def test_what_is_translated_of_a_guest_takes_no_more_memory_than_it_may(tmp_path: Path) -> None:
    """The guest executes MiBs of zeros, each two of which are an instruction, and translated at length."""
    image = tmp_path / "kernel"
    image.write_bytes(kernel(bytes.fromhex("31c0"), memory=16 * MIB))
    program = f"""
import resource
import kev
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run = kev.launch({str(image)!r}, max_pages=1100)
print(run.ending.kind.value, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    result = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, text=True)
    ending, grown = result.stdout.split()
    assert ending == "limited"
    assert int(grown) < TRANSLATED_CODE // MIB + 64
