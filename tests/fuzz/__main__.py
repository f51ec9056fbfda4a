"""`python -m tests.fuzz`: fuzzes each target for some time, and says what came of it.

An input that is not refused as it should be is shrunk, written to a file and said; the exit code is 1 then.
"""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings

from tests.fuzz.coverage import lines_reached
from tests.fuzz.devices import DeviceTarget
from tests.fuzz.guests import fuzz_guests
from tests.fuzz.streams import MODES
from tests.fuzz.targets import TARGETS, Target

_BATCH = 100
_TRACED = 200
_SLOW = 1.0  # seconds of the processor: how busy the host is makes no difference


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("targets", nargs="*", help="their names; by default all")
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--found", type=Path, default=Path(".fuzz"), help="a folder for inputs that were found")
    wanted = parser.parse_args()
    failed = False
    for bits in MODES:  # first: processes are forked for them, as long as there are no threads
        if not wanted.targets or f"guest-{bits}" in wanted.targets:
            said, is_well = fuzz_guests(bits, wanted.seconds)
            sys.stdout.write(f"guest-{bits}: {said}\n")
            failed |= not is_well
    for target in (*TARGETS, DeviceTarget()):
        if not wanted.targets or target.name in wanted.targets:
            failed |= not _fuzz(target, wanted.seconds, wanted.found)
    return int(failed)


def _fuzz(target: Target | DeviceTarget, seconds: float, found: Path) -> bool:
    """Whether nothing was found."""
    counts: Counter[str] = Counter()
    slowest = 0.0
    last: Any = b""

    def one(data: Any) -> None:
        nonlocal slowest, last
        last = data
        began = time.process_time()
        error = target.check(data)
        slowest = max(slowest, time.process_time() - began)
        counts["accepted" if error is None else type(error).__name__] += 1

    end = time.perf_counter() + seconds
    try:
        for seed in target.seeds():
            one(seed)
        while time.perf_counter() < end:
            _batch(target, one, _BATCH)
    except Exception as error:
        found.mkdir(exist_ok=True)
        file = found / target.name
        file.write_bytes(last if isinstance(last, bytes) else repr(last).encode())
        sys.stdout.write(f"{target.name}: {type(error).__name__}: {error}\n  the input is in {file}\n")
        return False
    reached, lines = lines_reached(target.modules, lambda: _batch(target, target.check, _TRACED))
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common())
    slow = "  SLOW" if slowest > _SLOW else ""
    sys.stdout.write(
        f"{target.name}: {sum(counts.values()):,} inputs ({kinds}), the slowest {slowest * 1e3:.0f} ms{slow}; "
        f"{reached} of {lines} lines of {', '.join(target.modules)}\n"
    )
    sys.stdout.flush()
    return True


def _batch(target: Target | DeviceTarget, check: object, count: int) -> None:
    assert callable(check)
    run = given(target.inputs())(lambda data: check(data) and None)
    settings(max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck))(run)()


if __name__ == "__main__":
    sys.exit(main())
