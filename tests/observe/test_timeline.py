"""What a timeline says of real runs."""

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from kev.addressing import PAGE_SIZE, Gpa
from kev.guests.images import open_image
from kev.machine.builder import MachineOptions
from kev.machine.launch_times import LaunchTimes
from kev.machine.launcher import prepare, run
from kev.machine.run_report import RunReport
from kev.machine.watching import watch_activity
from kev.observe.activity import Activity
from kev.observe.timeline import Timeline
from kev.observe.timeline_json import describe
from kev.observe.trace_file import rows, trace_events
from kev.pager.policy import Eager, PagingPolicy
from kev.pager.slow_source import SlowSource, SourceDelay
from kev.pager.source import SynchronousSource


def boot(guest: str = "gKeOS", policy: PagingPolicy | None = None, delay: SourceDelay | None = None) -> RunReport:
    with open_image(guest) as (source, _):
        slowed: SynchronousSource | SlowSource = source if delay is None else SlowSource(source, delay)
        return run(prepare(slowed, policy=policy, timeline=Timeline(), output=lambda _: None), timeout=60)


def timeline_of(report: RunReport) -> dict[str, Any]:
    assert report.timeline is not None
    return report.timeline


def test_every_violation_of_a_run_is_there_with_the_load_that_answered_it() -> None:
    report = boot()
    timeline = timeline_of(report)
    violations, loads = rows(timeline["violations"]), rows(timeline["loads"])
    assert len(violations) == report.violations
    assert sum(load["pages"] for load in loads) == report.pages_loaded
    for violation in violations:
        load = loads[violation["load"]]
        assert load["gpa"] == violation["gpa"] // PAGE_SIZE * PAGE_SIZE
        assert violation["owner"]
        assert load["vcpu"] == violation["vcpu"] == 0
        assert violation["time_us"] <= load["time_us"]
        assert load["duration_us"] <= violation["service_us"]
        assert violation["wait_us"] == 0
    assert all(first["time_us"] <= second["time_us"] for first, second in pairwise(violations))


def test_violations_are_named_by_section_and_function() -> None:
    timeline = timeline_of(boot())
    violations = rows(timeline["violations"])
    names = [region["name"] for region in timeline["regions"]]
    assert names[:4] == [".boot", ".page_tables", ".text", ".text.subsystems"]
    assert names[-1] == "RAM"
    first = violations[0]
    assert names[first["region"]] == ".boot"
    assert timeline["functions"][first["function"]] == "_start"
    assert first["access"] == 4
    in_subsystems = {v["function"] for v in violations if names[v["region"]] == ".text.subsystems" and v["access"] == 4}
    assert {timeline["functions"][function] for function in in_subsystems} >= {"subsystem_16", "subsystem_32"}


def test_an_image_without_symbols_names_no_functions() -> None:
    timeline = timeline_of(boot("hypercalls"))
    assert timeline["functions"] == []
    assert set(timeline["violations"]["function"]) == {-1}


def test_phases_follow_each_other() -> None:
    phases = boot().phases
    assert list(phases) == ["parse", "register", "engine", "first instruction", "first output", "end"]
    assert all(first <= second for first, second in pairwise(phases.values()))


def test_loads_of_the_policy_are_nobodys() -> None:
    report = boot(policy=Eager())
    loads = rows(timeline_of(report)["loads"])
    assert {load["vcpu"] for load in loads} == {-1}
    assert len(loads) < 20 < report.pages_loaded


def test_a_source_that_waits_is_seen_in_the_waits() -> None:
    report = boot(delay=SourceDelay(0.0001))
    violations = rows(timeline_of(report)["violations"])
    waits = [violation for violation in violations if violation["wait_us"]]
    assert len(waits) == report.page_waits
    assert all(100 <= wait["wait_us"] <= wait["service_us"] for wait in waits)


async def test_the_vcpu_that_waits_for_anothers_load_does_not_own_it(autojump_clock: MockClock) -> None:
    timeline = Timeline(trio.current_time)
    with open_image("gKeOS") as (source, _):
        slowed = SlowSource(source, SourceDelay(0.5))
        machine = prepare(slowed, options=MachineOptions(vcpus=2), timeline=timeline, output=lambda _: None)
        vm = machine.vm
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            vm.vcpus[0].needs, vm.vcpus[1].needs = Gpa(0x101000), Gpa(0x101800)
            nursery.start_soon(vm.load_page, vm.vcpus[0])
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(vm.load_page, vm.vcpus[1])
        vm.engine.close()
    waits = rows(describe(timeline, vm.pager, began)["violations"])
    assert [(wait["vcpu"], wait["owner"], wait["load"], wait["wait_us"]) for wait in waits] == [
        (0, True, 0, 500_000),
        (1, False, 0, 500_000),
    ]


def test_a_trace_has_a_track_for_phases_loads_and_each_vcpu() -> None:
    report = boot().as_dict()
    events = trace_events(report)["traceEvents"]
    tracks = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert tracks == {0: "phases", 1: "loads", 2: "vCPU 0"}
    assert sum(event["ph"] == "X" and event["cat"] == "violation" for event in events) == report["violations"]
    assert [event["name"] for event in events if event.get("cat") == "phase"] == list(report["phases"])
    begun = [event["id"] for event in events if event["ph"] == "b"]
    assert begun == [event["id"] for event in events if event["ph"] == "e"]
    assert len(begun) == report["pages_loaded"]


def traced(guest: str, vcpus: int, delay: SourceDelay | None = None) -> tuple[RunReport, dict[str, Any]]:
    """A run, and its trace with the activity of its vCPUs."""
    activity = Activity()
    with open_image(guest) as (source, _):
        slowed: SynchronousSource | SlowSource = source if delay is None else SlowSource(source, delay)
        machine = prepare(slowed, options=MachineOptions(vcpus=vcpus), timeline=Timeline(), output=lambda _: None)
        watch_activity(machine, activity)
        began = machine.times.began
        report = run(machine, timeout=60)
    activity.ended()
    return report, trace_events(report.as_dict(), activity, began)


def spans_of(trace: dict[str, Any]) -> dict[str, list[tuple[int, int, str]]]:
    """By track: from and until when in nanoseconds, as a reader cuts them off, and the name; inner ones follow outer ones."""
    names = {event["tid"]: event["args"]["name"] for event in trace["traceEvents"] if event["name"] == "thread_name"}
    found: dict[str, list[tuple[int, int, str]]] = {name: [] for name in names.values()}
    for event in trace["traceEvents"]:
        if event["ph"] == "X":
            began = int(event["ts"] * 1000)
            found[names[event["tid"]]].append((began, began + int(event["dur"] * 1000), event["name"]))
    return {name: sorted(spans, key=lambda span: (span[0], -span[1])) for name, spans in found.items()}


@pytest.mark.parametrize(("guest", "vcpus", "delay"), [("smp", 2, None), ("gKeOS", 1, SourceDelay(0.0001))])
def test_no_spans_of_a_track_overlap_to_the_nanosecond(guest: str, vcpus: int, delay: SourceDelay | None) -> None:
    _, trace = traced(guest, vcpus, delay)
    for name, spans in spans_of(trace).items():
        open_until: list[int] = []
        for began, ended, what in spans:
            while open_until and open_until[-1] <= began:
                open_until.pop()
            assert not open_until or ended <= open_until[-1], (name, what)
            open_until.append(ended)
    phases = spans_of(trace)["phases"]
    assert all(first[1] == second[0] for first, second in pairwise(phases))


def test_a_trace_has_every_exit_turn_halt_and_line() -> None:
    report, trace = traced("smp", 2)
    spans = spans_of(trace)
    exits = Counter(name for vcpu in (0, 1) for _, _, name in spans[f"vCPU {vcpu} exits"])
    slices = ("Hlt", "PreemptionTimer", "EptViolation", "TripleFault")
    assert exits == {name: count for name, count in report.exits.items() if name not in slices}
    turns = [name for vcpu in (0, 1) for _, _, name in spans[f"vCPU {vcpu} turns"]]
    assert set(turns) == {"runs", "halted"}
    assert turns.count("halted") == report.exits["Hlt"]
    printed = [event["name"] for event in trace["traceEvents"] if event.get("cat") == "output"]
    assert "ok 7 - a counter under a spinlock is exact" in "".join(printed)


def test_exits_that_a_trace_has_no_room_for_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kev.observe.activity.MOST_EXITS", 10)
    report, trace = traced("hypercalls", 1)
    assert sum(report.exits.values()) <= 10
    assert "exits left out" not in trace["otherData"]
    report, trace = traced("smp", 2)
    assert len([event for event in trace["traceEvents"] if event.get("cat") == "exit"]) == 10
    assert trace["otherData"]["exits left out"].endswith(" after the first 10")


@given(st.integers(0, 10**13))
def test_nanoseconds_of_a_trace_come_back_whole(nanoseconds: int) -> None:
    trace = trace_events({"image": "kernel", "phases": {"end": nanoseconds / 1e6}, "timeline": NOTHING})
    (phase,) = (event for event in trace["traceEvents"] if event.get("cat") == "phase")
    assert int(phase["dur"] * 1000.0) == nanoseconds == round(phase["dur"] * 1000.0)


NOTHING = {"regions": [], "functions": [], "violations": {"time_us": []}, "loads": {"time_us": []}}


def test_a_phase_of_imports_begins_where_the_one_before_it_ends() -> None:
    times = LaunchTimes(10.0, 10.001, 10.002, 10.003)
    early = times.phases(10.5, 10.6, 11.0, (10.004, 10.4))
    assert [name for name in early if name != "head start"] == list(early)
    assert list(early) == ["parse", "register", "engine", "imports", "first instruction", "first output", "end"]
    late = times.phases(10.004, 10.6, 11.0, (10.02, 10.4))
    assert list(late)[3:6] == ["first instruction", "head start", "imports"]
    assert late["head start"] == pytest.approx(20)


def test_a_trace_points_from_a_load_to_those_who_waited_for_another() -> None:
    violation = {
        "time_us": 10.0, "vcpu": 1, "rip": 0x1000, "gpa": 0x2000, "access": 2, "service_us": 90.0, "wait_us": 80.0,
        "load": 0, "owner": False, "region": 0, "function": -1,
    }  # fmt: skip
    load = {"time_us": 5.0, "duration_us": 94.0, "gpa": 0x2000, "pages": 2, "vcpu": 0, "loaded": True}
    timeline = {
        "regions": [{"name": "RAM", "flags": "rwx", "start": 0, "end": 1 << 20}],
        "functions": [],
        "violations": {name: [value] for name, value in violation.items()},
        "loads": {name: [value] for name, value in load.items()},
    }
    events = trace_events({"image": "kernel", "phases": {}, "timeline": timeline})["traceEvents"]
    arrow = [(event["ph"], event["tid"], event["ts"]) for event in events if event.get("cat") == "wake"]
    assert arrow == [("s", 1, 5.0), ("f", 3, 100.0)]
