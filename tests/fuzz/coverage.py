"""Which lines of some modules inputs have reached."""

import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).parents[2]


def lines_reached(modules: Iterable[str], run: Callable[[], object]) -> tuple[int, int]:
    """How many lines of the functions of the `modules` were executed by `run`, and how many they have."""
    files = {str(file.resolve()) for pattern in modules for file in ROOT.glob(pattern) if file.suffix == ".py"}
    there = {(file, line) for file in files for line in _lines(compile(Path(file).read_text(encoding="utf-8"), file, "exec"))}
    reached: set[tuple[str, int]] = set()
    resolved: dict[str, str] = {}

    def trace(frame: FrameType, _event: str, _argument: object) -> Any:
        name = frame.f_code.co_filename
        if name not in resolved:
            resolved[name] = str(Path(name).resolve())
        file = resolved[name]
        if file not in files:
            return None
        reached.add((file, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    threading.settrace(trace)
    try:
        run()
    finally:
        threading.settrace(before)
        sys.settrace(before)
    return len(reached & there), len(there)


def _lines(module: CodeType) -> Iterable[int]:
    """Those of all functions of a module: what stands outside of them is executed when it is imported."""
    for constant in module.co_consts:
        if isinstance(constant, CodeType):
            yield from (line for _, _, line in constant.co_lines() if line is not None and line != constant.co_firstlineno)
            yield from _lines(constant)
