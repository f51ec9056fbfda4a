"""The shape of a run's report, as far as a page is made of it: see `kev.machine.run_report` and `kev.observe.timeline_json`."""

from collections.abc import Iterable
from typing import Any, Final

from kev.user_json import Mismatch, Shape, columns, each, flag, integer, named, number, optional, record, scalar, text

_MOST_VCPUS: Final = 64
_ADDRESSES: Final = 1 << 48
_MOST_PAGES: Final = 1 << 22
"""That all loads of a timeline may have loaded: 16 GiB of guest memory."""


def _paging(value: Any, where: str) -> None:
    record({"policy": text})(value, where)
    named(scalar)(value, where)
    named(integer())({name: count for name, count in value.items() if name != "policy"}, where)


_LONGEST: Final = 1e15
_time: Final = number(0, _LONGEST)


def _phases(value: Any, where: str) -> None:
    record({"end": _time})(value, where)
    named(_time)(value, where)


_TIMELINE: Final = record(
    {
        "regions": each(record({"name": text, "flags": text, "start": integer(0, _ADDRESSES), "end": integer(0, _ADDRESSES)}), 1),
        "functions": each(text),
        "violations": columns(
            {
                "time_us": _time,
                "vcpu": integer(0, _MOST_VCPUS - 1),
                "rip": integer(0, (1 << 64) - 1),
                "gpa": integer(0, _ADDRESSES),
                "access": integer(0, 7),
                "service_us": optional(_time),
                "wait_us": optional(_time),
                "load": integer(-1),
                "owner": flag,
                "region": integer(),
                "function": integer(-1),
            }
        ),
        "loads": columns(
            {
                "time_us": _time,
                "duration_us": optional(_time),
                "gpa": integer(0, _ADDRESSES),
                "pages": integer(0, _MOST_PAGES),
                "vcpu": integer(-1, _MOST_VCPUS - 1),
                "loaded": flag,
            }
        ),
    }
)


def _timeline(value: Any, where: str) -> None:
    """With indices that lead somewhere."""
    _TIMELINE(value, where)
    violations, loads = value["violations"], value["loads"]
    _indices(violations["region"], len(value["regions"]), f"{where}.violations.region")
    _indices(violations["load"], len(loads["gpa"]), f"{where}.violations.load")
    _indices(violations["function"], len(value["functions"]), f"{where}.violations.function")
    pages = sum(loads["pages"])
    if pages > _MOST_PAGES:
        raise Mismatch.of(f"the sum of {where}.loads.pages", pages, f"{_MOST_PAGES} at most")


def _indices(found: Iterable[int], count: int, where: str) -> None:
    largest = max(found, default=-1)
    if largest >= count:
        raise Mismatch.of(where, largest, f"below {count}")


REPORT: Final[Shape] = record(
    {
        "image": text,
        "exit_code": integer(),
        "ending": record({"kind": text, "message": text}),
        "paging": _paging,
        "phases": _phases,
        "pages_loaded": integer(),
        "image_pages": integer(),
        "ram_pages": integer(),
        "violations": integer(),
        "page_waits": integer(),
        "exits": named(integer()),
    },
    {"timeline": _timeline},
)
