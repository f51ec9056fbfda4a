"""The report of a machine that was parked on its way: as if it had never been."""

from typing import Any, Final

_SUMS: Final = ("pages_loaded", "violations", "page_waits")


def joined(before: dict[str, Any], since: dict[str, Any]) -> dict[str, Any]:
    """Of a run whose report was `before` when the machine was parked, and is `since` of what came then.

    Times are those of the machine: how long it was parked is not in them. A page that was loaded before and behind counts twice.
    """
    run_ms = before["run_ms"] + since["run_ms"]
    return since | {
        "image": before["image"],
        "image_pages": before["image_pages"],
        "paging": before["paging"] | since["paging"],
        **{name: before[name] + since[name] for name in _SUMS},
        "exits": _sums(before["exits"], since["exits"]),
        "phases": since["phases"] | before["phases"] | {"end": run_ms},
        "unanswered": _unanswered(before["unanswered"], since["unanswered"]),
        **{name: since[name] if before[name] is None else before[name] for name in ("launch_ms", "first_output_ms")},
        "run_ms": run_ms,
    }


def joined_figures(before: dict[str, Any], since: dict[str, Any]) -> dict[str, Any]:
    """The same of `kev.service.home.Home.figures`."""
    times, earlier = since["load_times"], before["load_times"]
    return {
        **{name: before[name] + since[name] for name in ("pages_loaded", "violations")},
        "exits": _sums(before["exits"], since["exits"]),
        "load_times": {
            "counts": [old + new for old, new in zip(earlier["counts"], times["counts"], strict=True)],
            "seconds": earlier["seconds"] + times["seconds"],
        },
    }


def _sums(before: dict[str, int], since: dict[str, int]) -> dict[str, int]:
    return {kind: before.get(kind, 0) + since.get(kind, 0) for kind in before | since}


def _unanswered(before: dict[str, Any] | None, since: dict[str, Any] | None) -> dict[str, Any] | None:
    """Where, is what is known of the longer time."""
    if before is None or since is None:
        return before or since
    return before | {"accesses": before["accesses"] + since["accesses"]}
