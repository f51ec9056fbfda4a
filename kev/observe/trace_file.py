"""A run's timeline in the Trace Event Format, which Perfetto and Chrome's about:tracing show.

There is a track of the run's phases, one for each vCPU with its violations and waits, and one of the loads that the paging policy
or a device asked for. An arrow leads from a load to every vCPU that waited for it though another had begun it.
"""

from collections.abc import Iterator
from typing import Any, Final

from kev.exits import Access

_PID: Final = 1
_PHASES: Final = 0
_LOADS: Final = 1
_FIRST_VCPU: Final = 2

Event = dict[str, Any]


def trace_events(report: dict[str, Any]) -> dict[str, Any]:
    """The trace of a run from its report with a timeline (`kev.machine.run_report`, `kev.observe.timeline_json`)."""
    timeline = report["timeline"]
    events = [*_tracks(report), *_phases(report["phases"]), *_loads(timeline), *_violations(timeline)]
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"image": report["image"]}}


def _tracks(report: dict[str, Any]) -> Iterator[Event]:
    yield _metadata("process_name", 0, f"kev: {report['image']}")
    yield _metadata("thread_name", _PHASES, "phases")
    yield _metadata("thread_name", _LOADS, "loads")
    for vcpu in sorted(set(report["timeline"]["violations"]["vcpu"])):
        yield _metadata("thread_name", _FIRST_VCPU + vcpu, f"vCPU {vcpu}")


def _metadata(name: str, track: int, value: str) -> Event:
    return {"ph": "M", "pid": _PID, "tid": track, "name": name, "args": {"name": value}}


def _phases(phases: dict[str, float]) -> Iterator[Event]:
    began = 0.0
    for name, ended in phases.items():
        yield _span(_PHASES, "phase", name, began * 1e3, (ended - began) * 1e3, {})
        began = ended


def _loads(timeline: dict[str, Any]) -> Iterator[Event]:
    """Loads overlap each other, as spans of a track must not: so they are asynchronous events."""
    for index, load in enumerate(rows(timeline["loads"])):
        if load["duration_us"] is None:
            continue
        name = f"load {load['pages']} pages" if load["pages"] > 1 else "load"
        common = {"cat": "load", "name": name, "id": index, "pid": _PID, "tid": _LOADS}
        arguments = {"gpa": hex(load["gpa"]), "pages": load["pages"], "loaded": load["loaded"]}
        yield {**common, "ph": "b", "ts": load["time_us"], "args": arguments}
        yield {**common, "ph": "e", "ts": load["time_us"] + load["duration_us"]}


def _violations(timeline: dict[str, Any]) -> Iterator[Event]:
    loads = rows(timeline["loads"])
    for index, violation in enumerate(rows(timeline["violations"])):
        if violation["service_us"] is None:
            continue
        track = _FIRST_VCPU + violation["vcpu"]
        region = timeline["regions"][violation["region"]]["name"]
        arguments = {
            "gpa": hex(violation["gpa"]),
            "rip": hex(violation["rip"]),
            "function": timeline["functions"][violation["function"]] if violation["function"] >= 0 else None,
            "access": access_name(violation["access"]),
        }
        began, service, wait = violation["time_us"], violation["service_us"], violation["wait_us"]
        yield _span(track, "violation", f"violation {region}", began, service, arguments)
        if wait:
            yield _span(track, "wait", "wait", began + service - wait, wait, {})
        if wait and violation["load"] >= 0 and not violation["owner"]:
            yield from _arrow(index, loads[violation["load"]], track, began + service)


def _arrow(index: int, load: Event, track: int, resumed: float) -> Iterator[Event]:
    common = {"cat": "wake", "name": "wake", "id": index, "pid": _PID}
    yield {**common, "ph": "s", "tid": _LOADS, "ts": load["time_us"]}
    yield {**common, "ph": "f", "bp": "e", "tid": track, "ts": resumed}


def _span(track: int, category: str, name: str, began: float, duration: float, arguments: dict[str, Any]) -> Event:
    return {
        "ph": "X", "pid": _PID, "tid": track, "cat": category, "name": name,
        "ts": round(began, 1), "dur": round(duration, 1), "args": arguments,
    }  # fmt: skip


def rows(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """The entries of a table that is kept by columns."""
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def access_name(access: int) -> str:
    """What a violation wanted of its page, by the bits of `kev.exits.Access`."""
    name = Access(access).name
    return "device" if name is None or not access else name.lower()
