"""What a timeline says of real runs."""

from itertools import pairwise
from typing import Any

import trio
from trio.testing import MockClock

from kev.addressing import PAGE_SIZE, Gpa
from kev.guests.images import open_image
from kev.machine.builder import MachineOptions
from kev.machine.launcher import prepare, run
from kev.machine.run_report import RunReport
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
    trace = trace_events(report)
    events = trace["traceEvents"]
    tracks = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert tracks == {0: "phases", 1: "loads", 2: "vCPU 0"}
    assert sum(event["ph"] == "X" and event["cat"] == "violation" for event in events) == report["violations"]
    assert [event["name"] for event in events if event.get("cat") == "phase"] == list(report["phases"])
    begun = [event["id"] for event in events if event["ph"] == "b"]
    assert begun == [event["id"] for event in events if event["ph"] == "e"]
    assert len(begun) == report["pages_loaded"]


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
