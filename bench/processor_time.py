"""What processes get of the processor (Linux: /proc/PID/task/TID/schedstat, Documentation/scheduler/sched-stats.rst)."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self


class ProcessorTime(NamedTuple):
    """Of all threads of some processes, in seconds."""

    worked: float
    waited: float
    """They could have worked, but others had the processors."""

    @classmethod
    def of(cls, processes: Iterable[int]) -> Self:
        """Zeros where there is no such file."""
        worked = waited = 0
        for process in processes:
            for file in Path(f"/proc/{process}/task").glob("*/schedstat"):
                on, off, _ = map(int, file.read_text(encoding="ascii").split())
                worked, waited = worked + on, waited + off
        return cls(worked / 1e9, waited / 1e9)

    def since(self, before: "ProcessorTime") -> "ProcessorTime":
        return ProcessorTime(self.worked - before.worked, self.waited - before.waited)
