"""How fast machines go: looked at once a second, for as long as one runs."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import trio

from kev.service.machines.figures import Figures
from kev.service.machines.machine import ServedMachine
from kev.service.machines.registry import Registry

_SECONDS: Final = 1.0


class Rates(NamedTuple):
    """What a machine has done in the last second or so."""

    id: str
    violations_per_second: float
    exits_per_second: float
    pages: int
    """That are loaded."""
    violations: int
    """Of the whole run."""

    def describe(self) -> dict[str, Any]:
        """As clients see them."""
        return {
            **self._asdict(),
            "violations_per_second": round(self.violations_per_second, 1),
            "exits_per_second": round(self.exits_per_second, 1),
        }


async def watch_rates(registry: Registry, tell: Callable[[ServedMachine, Rates], object]) -> None:
    """Tells of every machine that runs, once a second."""
    last: dict[str, tuple[float, Figures]] = {}
    while True:
        running = [machine for machine in registry if machine.state == "running"]
        last = {machine.id: last[machine.id] for machine in running if machine.id in last}
        if not running:
            await _until_changed(registry)
        async with trio.open_nursery() as nursery:
            # Whoever does not answer in time keeps nobody waiting.
            nursery.cancel_scope.deadline = trio.current_time() + _SECONDS
            for machine in running:
                nursery.start_soon(machine.sample)
        for machine in running:
            now = (trio.current_time(), machine.figures)
            if machine.id in last and machine.state == "running":
                tell(machine, _rates(machine.id, last[machine.id], now))
            last[machine.id] = now
        await trio.sleep(_SECONDS)


async def _until_changed(registry: Registry) -> None:
    changed = trio.Event()
    unsubscribe = registry.changed.subscribe(lambda _machine: changed.set())
    try:
        await changed.wait()
    finally:
        unsubscribe()


def _rates(id: str, before: tuple[float, Figures], after: tuple[float, Figures]) -> Rates:
    seconds = max(after[0] - before[0], 1e-3)
    violations = after[1].violations - before[1].violations
    exits = sum(after[1].exits.values()) - sum(before[1].exits.values())
    return Rates(id, max(violations, 0) / seconds, max(exits, 0) / seconds, after[1].pages_loaded, after[1].violations)
