"""A run's timeline in the Trace Event Format, which Perfetto and Chrome's about:tracing show.

There is a track of the run's phases, one of what the guest printed, one of the loads that the paging policy or a device asked for,
and three for each vCPU: its turns and halts, its violations and waits, and its other exits. An arrow leads from a load to every
vCPU that waited for it though another had begun it.

Times are microseconds with three decimals, so whole nanoseconds. Spans of a track lie inside each other or do not meet, to the
nanosecond: Perfetto drops those that overlap.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any, Final

from kev.exits import Access
from kev.observe.activity import Activity, Span

_PID: Final = 1
_PHASES: Final = 0
_LOADS: Final = 1
_FIRST_VCPU: Final = 2
_OUTPUT: Final = 100
_FIRST_TURNS: Final = 200
_FIRST_EXITS: Final = 300

Event = dict[str, Any]


def trace_events(report: dict[str, Any], activity: Activity | None = None, began: float = 0.0) -> dict[str, Any]:
    """The trace of a run from its report with a timeline (`kev.machine.run_report`, `kev.observe.timeline_json`).

    `activity` is what vCPUs did beside that, in a run that began at `began` by its clock.
    """
    timeline = report["timeline"]
    events = [*_phases(report["phases"]), *_loads(timeline), *_violations(timeline)]
    other = {"image": report["image"]}
    if activity is not None:
        events += _activity(activity, began)
        if activity.exits_left_out:
            other["exits left out"] = f"{activity.exits_left_out:,} after the first {len(activity.exits):,}"
    tracks = dict.fromkeys((_PHASES, _LOADS, *(event["tid"] for event in events)))
    named = [event for track in sorted(tracks, key=_order) for event in _metadata(track)]
    process = {"ph": "M", "pid": _PID, "tid": 0, "name": "process_name", "args": {"name": f"kev: {report['image']}"}}
    return {"traceEvents": [process, *named, *events], "displayTimeUnit": "ms", "otherData": other}


def _metadata(track: int) -> Iterator[Event]:
    common = {"ph": "M", "pid": _PID, "tid": track}
    yield {**common, "name": "thread_name", "args": {"name": _track_name(track)}}
    yield {**common, "name": "thread_sort_index", "args": {"sort_index": _order(track)}}


def _track_name(track: int) -> str:
    names = {_PHASES: "phases", _LOADS: "loads", _OUTPUT: "output"}
    if track in names:
        return names[track]
    if track >= _FIRST_EXITS:
        return f"vCPU {track - _FIRST_EXITS} exits"
    return f"vCPU {track - _FIRST_TURNS} turns" if track >= _FIRST_TURNS else f"vCPU {track - _FIRST_VCPU}"


def _order(track: int) -> int:
    """From above: phases, output, loads, then each vCPU's turns, violations and exits."""
    fixed = {_PHASES: 0, _OUTPUT: 1, _LOADS: 2}
    if track in fixed:
        return fixed[track]
    for place, first in ((2, _FIRST_EXITS), (0, _FIRST_TURNS), (1, _FIRST_VCPU)):
        if track >= first:
            return 3 + 3 * (track - first) + place
    raise AssertionError(track)


def _phases(phases: dict[str, float]) -> Iterator[Event]:
    began = 0
    for name, milliseconds in phases.items():
        ended = round(milliseconds * 1e6)
        yield _span(_PHASES, "phase", name, began, ended, {})
        began = ended


def _activity(activity: Activity, began: float) -> Iterator[Event]:
    yield from _spans(activity.turns, _FIRST_TURNS, "turn", began)
    yield from _spans(activity.exits, _FIRST_EXITS, "exit", began)
    for print in activity.prints:
        name = print.text.rstrip("\r\n") or "(a line's end)"
        at = _microseconds(_nanoseconds(print.time, began))
        yield {"ph": "i", "s": "t", "pid": _PID, "tid": _OUTPUT, "cat": "output", "name": name, "ts": at}


def _spans(spans: Iterable[Span], first_track: int, category: str, began: float) -> Iterator[Event]:
    for span in spans:
        arguments = {"details": span.details} if span.details else {}
        start, end = _nanoseconds(span.began, began), _nanoseconds(span.ended, began)
        yield _span(first_track + span.vcpu, category, span.name, start, end, arguments)


def _loads(timeline: dict[str, Any]) -> Iterator[Event]:
    """Loads overlap each other, as spans of a track must not: so they are asynchronous events."""
    for index, load in enumerate(rows(timeline["loads"])):
        if load["duration_us"] is None:
            continue
        name = f"load {load['pages']} pages" if load["pages"] > 1 else "load"
        common = {"cat": "load", "name": name, "id": index, "pid": _PID, "tid": _LOADS}
        arguments = {"gpa": hex(load["gpa"]), "pages": load["pages"], "loaded": load["loaded"]}
        yield {**common, "ph": "b", "ts": _shown(load["time_us"]), "args": arguments}
        yield {**common, "ph": "e", "ts": _shown(load["time_us"] + load["duration_us"])}


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
        wait = violation["wait_us"]
        began, ended = round(violation["time_us"] * 1e3), round((violation["time_us"] + violation["service_us"]) * 1e3)
        yield _span(track, "violation", f"violation {region}", began, ended, arguments)
        if wait:
            yield _span(track, "wait", "wait", ended - round(wait * 1e3), ended, {})
        if wait and violation["load"] >= 0 and not violation["owner"]:
            yield from _arrow(index, loads[violation["load"]], track, ended)


def _arrow(index: int, load: Event, track: int, resumed: int) -> Iterator[Event]:
    common = {"cat": "wake", "name": "wake", "id": index, "pid": _PID}
    yield {**common, "ph": "s", "tid": _LOADS, "ts": _shown(load["time_us"])}
    yield {**common, "ph": "f", "bp": "e", "tid": track, "ts": _microseconds(resumed)}


def _span(track: int, category: str, name: str, began: int, ended: int, arguments: dict[str, Any]) -> Event:
    """From and until when in nanoseconds."""
    return {
        "ph": "X", "pid": _PID, "tid": track, "cat": category, "name": name,
        "ts": _microseconds(began), "dur": _microseconds(ended - began), "args": arguments,
    }  # fmt: skip


def _nanoseconds(moment: float, began: float) -> int:
    return round((moment - began) * 1e9)


def _shown(microseconds: float) -> float:
    return _microseconds(round(microseconds * 1e3))


def _microseconds(nanoseconds: int) -> float:
    """So that a reader who multiplies by 1,000 and cuts off what is behind the point has these nanoseconds again."""
    value = nanoseconds / 1e3
    return value if int(value * 1e3) == nanoseconds else math.nextafter(value, math.inf)


def rows(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """The entries of a table that is kept by columns."""
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def access_name(access: int) -> str:
    """What a violation wanted of its page, by the bits of `kev.exits.Access`."""
    name = Access(access).name
    return "device" if name is None or not access else name.lower()
