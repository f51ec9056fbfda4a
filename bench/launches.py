"""Many launches in one process, which end in all the ways that there are: what the process holds must not grow with them."""

import gc
import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import kev
from bench.measurement import Measurement, Result
from kev.addressing import MIB, PAGE_SIZE
from kev.errors import KevError
from tests.cli.programs import FLOOD, kernel
from tests.pager.sources import BytesSource

TITLE: Final = "many launches in one process"
_LAUNCHES: Final = 10_000
_A_FEW: Final = 200


class _Refused(Exception):
    """What a callback raises."""


class _Failing(BytesSource):
    """Its headers can be read, and nothing behind them."""

    def read_into(self, offset: int, buffer: memoryview, /) -> int:
        if offset >= PAGE_SIZE:
            raise OSError(5, "Input/output error")
        return super().read_into(offset, buffer)


def _refuse(_data: bytes) -> None:
    raise _Refused


_SPIN: Final = kernel(bytes.fromhex("ebfe"))
_KINDS: Final[tuple[Callable[[], object], ...]] = (
    lambda: kev.launch("hypercalls"),
    lambda: kev.launch("hypercalls", seed=1),
    lambda: kev.launch("triple"),
    lambda: kev.launch("lost-update", vcpus=2, timeline=True),
    lambda: kev.launch(BytesSource(FLOOD), max_output=100),
    lambda: kev.launch("hypercalls", max_pages=4),
    lambda: kev.launch(BytesSource(_SPIN), timeout=0.001),
    lambda: kev.launch(BytesSource(b"no kernel")),
    lambda: kev.launch(_Failing(FLOOD)),
    lambda: kev.launch(BytesSource(FLOOD), output=_refuse),
    lambda: kev.launch("bootsector"),
    lambda: kev.launch("hypercalls", memory="1T", paging="around=4"),
)


def measure(quick: bool) -> list[Result]:
    count = _A_FEW if quick else _LAUNCHES
    ends: Counter[str] = Counter()
    before: dict[str, float] = {}
    for number in range(count):
        ends[_launch(_KINDS[number % len(_KINDS)])] += 1
        if number == count // 10:
            before = _held()
    after = _held()
    grown = {what: after[what] - before[what] for what in after}
    kinds = ", ".join(f"{ended:,} {kind}" for kind, ended in ends.most_common())
    return [
        Measurement(f"{count:,} launches ({kinds}): memory", "MiB", [after["memory"]]),
        Measurement("  memory that grew after a tenth of them", "MiB", [grown["memory"]], limit=8),
        Measurement("  descriptors that were added", "", [grown["descriptors"]], limit=0),
        Measurement("  threads that were added", "", [grown["threads"]], limit=0),
    ]


def _launch(kind: Callable[[], Any]) -> str:
    try:
        return str(kind().ending.kind.value)
    except _Refused:
        return "raised by a callback"
    except KevError:
        return "refused"


def _held() -> dict[str, float]:
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE_SIZE
    return {"memory": resident / MIB, "descriptors": len(os.listdir("/proc/self/fd")), "threads": threading.active_count()}
