"""Summaries, their file, what has changed between two, and what was promised."""

import json
from collections.abc import Sequence
from math import comb
from pathlib import Path
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.measure.case import Case, Metrics, Rounds
from kev.measure.compare import changes, only_in
from kev.measure.errors import BenchError
from kev.measure.result import BenchResult
from kev.measure.summary import summarize, values_outside
from kev.measure.table import change_text, table
from kev.measure.targets import boot_targets
from kev.measure.units import latency_text, size_text

NUMBERS = st.floats(0.001, 1e6)


def result(*cases: tuple[str, dict[str, str], dict[str, Sequence[float]]]) -> BenchResult:
    made = Rounds([Case(scenario, parameters, dict) for scenario, parameters, _ in cases])
    for found, (_, _, metrics) in zip(made.values, cases, strict=True):
        found.update({metric: list(values) for metric, values in metrics.items()})
    made.done = max(len(values) for _, _, metrics in cases for values in metrics.values())
    return BenchResult.of(made, {"QEMU": "9"})


@given(st.lists(NUMBERS, min_size=6, max_size=40))
def test_a_median_lies_in_its_interval_and_that_among_the_values(values: list[float]) -> None:
    summary = summarize(values)
    assert summary.median == median(values)
    assert summary.low is not None
    assert summary.high is not None
    assert min(values) <= summary.low <= summary.median <= summary.high <= max(values)
    assert summary.values == tuple(values)


@given(st.lists(NUMBERS, min_size=1, max_size=5))
def test_a_few_values_have_a_median_and_no_interval(values: list[float]) -> None:
    summary = summarize(values)
    assert (summary.median, summary.low, summary.high) == (median(values), None, None)
    assert values_outside(len(values)) is None


@pytest.mark.parametrize(("runs", "known"), [(1, []), (2, [50]), (19, [50]), (20, [50, 95]), (99, [50, 95]), (100, [50, 95, 99])])
def test_percentiles_are_those_that_the_single_runs_allow(runs: int, known: list[int]) -> None:
    values = [float(number) for number in range(1, runs + 1)]
    summary = summarize([1.0, values[-1]], [values[: runs // 2], values[runs // 2 :]])
    assert list(summary.percentiles) == known
    assert all(sum(value <= found for value in values) / runs >= percent / 100 for percent, found in summary.percentiles.items())


@given(st.integers(6, 200))
def test_the_interval_holds_the_median_with_95_percent_and_no_shorter_one_does(count: int) -> None:
    outside = values_outside(count)

    assert outside is not None

    def coverage(left_out: int) -> float:
        return float(1 - 2 * sum(comb(count, index) for index in range(left_out + 1)) / 2**count)

    assert coverage(outside) >= 0.95 > coverage(outside + 1)


def test_a_round_goes_back_and_forth_and_the_first_does_not_count() -> None:
    order: list[str] = []

    def case(name: str) -> Case:
        def measure() -> Metrics:
            order.append(name)
            return {"end_ms": float(len(order)), "waits": 2.0}

        return Case("scenario", {"name": name}, measure)

    progress: list[int] = []
    rounds = Rounds([case("a"), case("b")])
    rounds.measure(2, progress.append)
    assert order == [*"ab", *"ab", *"baab" * 7, *"ab", *"baab" * 7]
    assert [len(metrics["end_ms"]) for metrics in rounds.values] == [2, 2]
    assert rounds.values[0]["waits"] == [2.0, 2.0]
    assert [len(runs) for runs in rounds.runs[0]["end_ms"]] == [15, 15]
    assert [min(runs) for runs in rounds.runs[0]["end_ms"]] == rounds.values[0]["end_ms"]
    assert "waits" not in rounds.runs[0]
    assert progress == [1, 2]


@given(st.lists(NUMBERS, min_size=1, max_size=9))
def test_results_survive_their_file(values: list[float]) -> None:
    before = result(("image", {"image": "1M"}, {"first_output_ms": values, "violations": [3.0]}))
    after = BenchResult.from_json(json.dumps(before.to_json()), "old.json")
    assert after == before


def test_results_with_single_runs_survive_their_file() -> None:
    rounds = Rounds([Case("a", {}, lambda: {"end_ms": 1.5, "waits": 3})])
    rounds.measure(2, lambda _: None)
    before = BenchResult.of(rounds, {})
    assert BenchResult.from_json(json.dumps(before.to_json()), "old.json") == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"^old\.json: not a file of results: "),
        ("[]", r"^old\.json: not a file of results: it is a list of 0: it must be an object"),
        ('{"format": "kev bench 1"}', r"^old\.json: not a file of results: it has no 'environment'"),
        (
            '{"format": "kev bench 1", "environment": {}, "rounds": 1, "cases": [7]}',
            r"^old\.json: not a file of results: cases\[0\] is 7: it must be an object",
        ),
    ],
)
def test_a_file_that_has_no_results_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        BenchResult.from_json(text, "old.json")


def test_a_change_counts_if_the_intervals_have_nothing_in_common() -> None:
    old = result(("a", {}, {"end_ms": [10, 11, 12] * 2, "first_output_ms": [1, 2, 9] * 2}), ("gone", {}, {"end_ms": [1.0]}))
    new = result(("a", {}, {"end_ms": [20, 21, 22] * 2, "first_output_ms": [2, 3, 10] * 2}), ("new", {}, {"end_ms": [1.0]}))
    end, first_output = changes(old, new)
    assert end.significant
    assert end.is_worse
    assert change_text(end) == " 1.91x  a: end_ms 11.00 [10.00-12.00] -> 21.00 [20.00-22.00]"
    assert first_output.significant is False
    assert not first_output.is_worse
    assert change_text(first_output).startswith(" noise  a: first_output_ms")
    assert only_in(old, new) == ["gone"]
    assert only_in(new, old) == ["new"]


def test_whether_a_few_rounds_differ_cannot_be_told() -> None:
    old, new = (result(("a", {}, {"end_ms": values})) for values in ([10.0, 11.0, 12.0], [20.0, 21.0, 22.0]))
    (change,) = changes(old, new)
    assert change.significant is None
    assert not change.is_worse
    assert change_text(change) == "     ?  a: end_ms 11.00 -> 21.00"


def test_what_was_promised_is_worked_out_from_the_medians() -> None:
    found = result(
        ("launch", {"what": "kev, warm process"}, {"first_output_ms": [10.0]}),
        ("launch", {"what": "kev run"}, {"first_output_ms": [100.0]}),
        ("launch", {"what": "QEMU"}, {"first_output_ms": [50.0]}),
        ("memory", {"memory": "64M"}, {"first_output_ms": [10.0]}),
        ("memory", {"memory": "1T"}, {"first_output_ms": [13.0]}),
        ("source", {"latency": "1ms", "policy": "lazy"}, {"page_waits": [130.0], "end_ms": [200.0]}),
        ("source", {"latency": "1ms", "policy": "prefetch"}, {"page_waits": [0.0], "end_ms": [50.0]}),
    )
    assert [(str(target), target.met) for target in boot_targets(found)] == [
        ("first output in a warm process, sooner than QEMU: 5x (at least 3x)", True),
        ("first output of `kev run`, against QEMU: 2x (at most 2.5x)", True),
        ("first output, whatever the size of RAM: slowest against fastest: 1.3x (at most 1.2x)", False),
        ("waits from a source with 1 ms latency, prefetch against lazy: infx (at least 10x)", True),
        ("end of the boot from a source with 1 ms latency, prefetch against lazy: 4x (at least 5x)", False),
    ]


def test_the_table_has_every_case_and_every_promise() -> None:
    found = result(
        ("image", {"image": "1M", "policy": "lazy"}, {"first_output_ms": [1.0, 2.0, 3.0] * 2, "violations": [1234.0]}),
        ("image", {"image": "4G", "policy": "eager"}, {"first_output_ms": [5.0]}),
    )
    text = "\n".join(table(found, list(boot_targets(found))))
    assert "QEMU 9" in text
    assert "1M     lazy    2.00 [1.00-3.00]  1,234" in text
    assert "4G     eager   5.00\n" in f"{text}\n"
    assert "in brackets their 95 % intervals" in text


def test_the_table_says_that_rounds_are_too_few_and_what_could_not_be_made_cold() -> None:
    found = result(("cache", {"policy": "lazy", "cache": "cold"}, {"end_ms": [1.0, 2.0], "cached_kib": [4.0, 0.0]}))
    text = "\n".join(table(found, ()))
    assert "medians of 2 rounds, each the best of its short runs; too few for 95 % intervals" in text
    assert "NOT COLD  cache policy=lazy cache=cold: 4 KiB stayed in the page cache" in text


def test_the_table_has_percentiles_of_single_runs() -> None:
    rounds = Rounds([Case("a", {}, lambda: {"end_ms": next(times)})])
    times = iter(map(float, range(1, 1000)))
    rounds.measure(7, lambda _: None)
    text = "\n".join(table(BenchResult.of(rounds, {}), ()))
    assert "single runs  metric  runs  p50    p95     p99\na            end_ms  105   54.00  101.00  105.00" in text


def test_a_picture_has_a_panel_for_each_scenario(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from kev.measure.chart import draw

    source: dict[str, Sequence[float]] = {"end_ms": [5.0, 6.0], "page_waits": [3.0, 3.0]}
    found = result(
        ("launch", {"what": "QEMU"}, {"first_output_ms": [50.0, 60.0]}),
        ("image", {"image": "1M", "policy": "lazy", "latency": "0ms"}, {"first_output_ms": [1.0]}),
        ("memory", {"memory": "64M"}, {"first_output_ms": [1.0]}),
        *(("source", {"latency": "1ms", "policy": policy}, source) for policy in ("lazy", "prefetch")),
    )
    draw(found, tmp_path / "all.png")
    draw(result(("memory", {"memory": "64M"}, {"first_output_ms": [1.0]})), tmp_path / "one.png")
    assert (tmp_path / "all.png").stat().st_size > (tmp_path / "one.png").stat().st_size


def test_a_machine_that_was_named_has_a_bar_for_each_policy(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from kev.measure.chart import draw

    def machine(policy: str, cache: str) -> tuple[str, dict[str, str], dict[str, Sequence[float]]]:
        return "machine", {"image": "own.elf", "policy": policy, "cache": cache}, {"first_output_ms": [1.0]}

    draw(result(machine("lazy", "warm"), machine("mine:Mine", "cold")), tmp_path / "own.svg")
    picture = (tmp_path / "own.svg").read_text()
    assert all(f"<!-- {text} -->" in picture for text in ("own.elf until its first output", "lazy warm", "mine:Mine cold"))


def test_what_has_no_picture_is_refused_and_not_drawn_empty(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from kev.measure.chart import draw

    with pytest.raises(BenchError, match="nothing to draw: there are pictures of launch, image, memory, source"):
        draw(result(("cache", {"cache": "cold"}, {"first_output_ms": [1.0]})), tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()


@pytest.mark.parametrize(("size", "text"), [(1 << 40, "1T"), (256 << 20, "256M"), (3 << 29, "1536M"), (5, "5")])
def test_sizes_are_written_with_the_largest_unit(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "0ms"), (0.001, "1ms"), (0.0005, "0.5ms")])
def test_latencies_are_in_milliseconds(seconds: float, text: str) -> None:
    assert latency_text(seconds) == text
