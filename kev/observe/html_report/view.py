"""What the page draws of a run, worked out of its report."""

from collections import defaultdict
from collections.abc import Iterator
from math import floor, log10
from typing import Any, Final

from kev.addressing import PAGE_SIZE, page_ceil, page_floor
from kev.observe.html_report.runs import percentile, service_times
from kev.observe.trace_file import access_name, rows

_MOST_CELLS: Final = 768
"""Of one region of memory; where it has more pages, a cell stands for several."""
_BINS_PER_DECADE: Final = 8


def view(report: dict[str, Any], label: str) -> dict[str, Any]:
    """The run as the page's script wants it. Times are in milliseconds from the launch, unless their name says microseconds."""
    shown = {
        "label": label,
        "phases": _phases(report["phases"]),
        "end": report["phases"]["end"],
        "firstOutput": report["phases"].get("first output"),
    }
    if "timeline" in report:
        timeline = report["timeline"]
        violations = rows(timeline["violations"])
        loaded = _loaded_pages(timeline)
        shown |= {
            "lanes": _lanes(timeline, violations),
            "loads": _cumulated(timeline),
            "memory": _memory(timeline, loaded, _touching(timeline, violations)),
            "service": _histogram(violations, service_times(report)),
            "functions": _functions(timeline, violations),
        }
    return shown


def _phases(phases: dict[str, float]) -> list[dict[str, Any]]:
    ends = list(phases.items())
    begins = [0.0, *(end for _, end in ends)]
    return [{"name": name, "begin": begin, "end": end} for (name, end), begin in zip(ends, begins, strict=False)]


def _lanes(timeline: dict[str, Any], violations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each region that was touched: when, for what, and how long the vCPU waited."""
    lanes = [{"name": region["name"], "times": [], "accesses": [], "waits": []} for region in timeline["regions"]]
    for violation in violations:
        lane = lanes[violation["region"]]
        lane["times"].append(violation["time_us"] / 1e3)
        lane["accesses"].append(access_name(violation["access"]))
        lane["waits"].append((violation["wait_us"] or 0) / 1e3)
    return [lane for lane in lanes if lane["times"]]


def _cumulated(timeline: dict[str, Any]) -> dict[str, list[float]]:
    """How many pages were there at what time."""
    ended = sorted(
        (load["time_us"] + load["duration_us"], load["pages"])
        for load in rows(timeline["loads"])
        if load["loaded"] and load["duration_us"] is not None
    )
    times, counts, total = [], [], 0
    for time, pages in ended:
        total += pages
        times.append(time / 1e3)
        counts.append(total)
    return {"times": times, "counts": counts}


def _loaded_pages(timeline: dict[str, Any]) -> dict[int, float]:
    """When each page was first loaded, by its address."""
    loaded: dict[int, float] = {}
    for load in rows(timeline["loads"]):
        if load["loaded"]:
            for page in range(load["gpa"], load["gpa"] + load["pages"] * PAGE_SIZE, PAGE_SIZE):
                loaded.setdefault(page, load["time_us"] / 1e3)
    return loaded


def _touching(timeline: dict[str, Any], violations: list[dict[str, Any]]) -> dict[int, str]:
    """What function touched each page first, by its address."""
    functions = timeline["functions"]
    touching: dict[int, str] = {}
    for violation in violations:
        if violation["function"] >= 0:
            touching.setdefault(page_floor(violation["gpa"]), functions[violation["function"]])
    return touching


def _memory(timeline: dict[str, Any], loaded: dict[int, float], touching: dict[int, str]) -> list[dict[str, Any]]:
    """For each region the cells of its heat map. A page that several segments share is in all of theirs, and not in RAM's."""
    *segments, ram = timeline["regions"]
    spans = [(page_floor(segment["start"]), page_ceil(segment["end"])) for segment in segments]
    pages_of = [[page for page in loaded if start <= page < end] for start, end in spans]
    image = {page for pages in pages_of for page in pages}
    spans.append((page_floor(ram["start"]), page_ceil(ram["end"])))
    pages_of.append([page for page in loaded if page not in image])
    return [
        _heat(region, span, pages, loaded, touching)
        for region, span, pages in zip(timeline["regions"], spans, pages_of, strict=True)
        if span[1] > span[0]
    ]


def _heat(
    region: dict[str, Any], span: tuple[int, int], pages: list[int], loaded: dict[int, float], touching: dict[int, str]
) -> dict[str, Any]:
    start, end = span
    total = (end - start) // PAGE_SIZE
    pages_per_cell = 1
    while total > pages_per_cell * _MOST_CELLS:
        pages_per_cell *= 2
    cells: dict[int, list[int]] = defaultdict(list)
    for page in pages:
        cells[(page - start) // PAGE_SIZE // pages_per_cell].append(page)
    return {
        "name": region["name"],
        "flags": region["flags"],
        "start": start,
        "pages": total,
        "loaded": len(pages),
        "pagesPerCell": pages_per_cell,
        "cells": [_cell(index, found, loaded, touching) for index, found in sorted(cells.items())],
    }


def _cell(index: int, pages: list[int], loaded: dict[int, float], touching: dict[int, str]) -> list[Any]:
    """Its index, when its first page was loaded, how many are, and who touched the first."""
    first = min(pages, key=lambda page: loaded[page])
    return [index, loaded[first], len(pages), touching.get(first)]


def _histogram(violations: list[dict[str, Any]], ascending: list[float]) -> dict[str, Any]:
    """Service times by bins of equal ratio: those that were served on the spot, and those that had to wait."""
    bins: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for violation in violations:
        service = violation["service_us"]
        if service:
            bins[_bin_of(service)][1 if violation["wait_us"] else 0] += 1
    return {
        "bins": [{"low": _bin_start(number), "high": _bin_start(number + 1), "counts": bins[number]} for number in _between(bins)],
        "median": percentile(ascending, 0.5),
        "p99": percentile(ascending, 0.99),
    }


def _bin_of(value: float) -> int:
    """The first bin also holds what is shorter than a microsecond."""
    return max(floor(log10(value) * _BINS_PER_DECADE), 0)


def _bin_start(number: int) -> float:
    """In microseconds."""
    return float(10 ** (number / _BINS_PER_DECADE))


def _between(bins: dict[int, list[int]]) -> Iterator[int]:
    yield from range(min(bins, default=0), max(bins, default=-1) + 1)


def _functions(timeline: dict[str, Any], violations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Who pulled pages in: by function, most pages first, and of equals the one that came first."""
    found: dict[int, dict[str, Any]] = {}
    for violation in violations:
        if violation["load"] < 0 or not violation["owner"]:
            continue
        number = violation["function"]
        name = timeline["functions"][number] if number >= 0 else None
        entry = found.setdefault(number, {"name": name, "pages": 0, "first": violation["time_us"] / 1e3, "serviceUs": 0.0})
        entry["pages"] += timeline["loads"]["pages"][violation["load"]]
        entry["serviceUs"] += violation["service_us"] or 0
    return sorted(found.values(), key=lambda entry: (-entry["pages"], entry["first"]))
