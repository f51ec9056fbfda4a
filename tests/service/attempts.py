"""Python code that is tried in a process that confines itself."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ATTEMPT = """
def attempt(attempts, names):
    results = {}
    for name, code in json.loads(attempts).items():
        try:
            exec(code, names)
            results[name] = "done"
        except Exception as error:
            results[name] = type(error).__name__
    return results
"""
"""Defines a function that says of each piece of code what it raises, or `done`. It needs `json`."""


def printed_by(program: str, folder: Path, words: Sequence[str]) -> dict[str, str]:
    """What a program with these words prints in `folder`, as JSON. It imports what this process can."""
    command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{program}", *words]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    results: dict[str, str] = json.loads(process.stdout)
    return results
