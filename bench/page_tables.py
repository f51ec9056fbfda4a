"""The tables of whole machines: how long they take to be built, listed and audited, and how large they are."""

import time
from collections.abc import Callable
from typing import Final

from bench.measurement import Measurement, Result, repeat
from kev.addressing import GIB, MIB, PAGE_SIZE, TIB
from kev.page_tables.audit import audit
from kev.page_tables.identity import QUICK, SHIFT, WholeMachine

TITLE: Final = "extended page tables of whole machines"
_ROUNDS: Final = 9
_32_GIB: Final = WholeMachine(32 * GIB)
_PLANS: Final = {
    "32 GiB": _32_GIB,
    "32 GiB, shifted": WholeMachine(32 * GIB, SHIFT),
    "1 TiB": WholeMachine(TIB),
    "4 GiB, quick style": WholeMachine(4 * GIB, SHIFT, style=QUICK),
}
_LIMITS: Final = {"32 GiB: built": 50.0, "32 GiB, shifted: built": 50.0, "1 TiB: built": 1000.0}  # milliseconds
_SIZE_LIMIT: Final = 4.0  # MiB, of 32 GiB


def measure(quick: bool) -> list[Result]:
    samples = repeat(_ROUNDS, quick, _measure_once)
    results: list[Result] = [Measurement(name, "ms", values, _LIMITS.get(name)) for name, values in samples.items()]
    for name, plan in _PLANS.items():
        size = plan.build().tables * PAGE_SIZE / MIB
        results.append(Measurement(f"{name}: size of the tables", "MiB", [size], _SIZE_LIMIT if plan.memory == 32 * GIB else None))
    return results


def _measure_once() -> dict[str, float]:
    samples = {f"{name}: built": _milliseconds(plan.build) for name, plan in _PLANS.items()}
    table = _32_GIB.build()
    return samples | {
        "32 GiB: listed": _milliseconds(table.dump),
        "32 GiB: audited": _milliseconds(lambda: audit(table, _32_GIB)),
    }


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3
