"""What processes of the host take, as Linux's /proc has it."""

from pathlib import Path

from kev.addressing import KIB


def with_descendants(process: int) -> list[int]:
    """A process and all below it."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="utf-8").split()
    return [process, *(below for child in children for below in with_descendants(int(child)))]


def proportional_memory(processes: list[int]) -> int:
    """Bytes that they take together: what several share is divided among those who have it (PSS)."""
    return sum(_rollup(process)["Pss"] for process in processes)


def own_memory(process: int) -> int:
    """Bytes that a process shares with no other."""
    found = _rollup(process)
    return found["Private_Clean"] + found["Private_Dirty"]


def _rollup(process: int) -> dict[str, int]:
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]
    return {name: int(size.split()[0]) * KIB for name, _, size in (line.partition(":") for line in lines)}
