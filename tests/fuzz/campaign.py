"""`python -m tests.fuzz.campaign FILE`: many random guests of each mode, counted in a file; what is in there is not run again."""

import argparse
import json
import resource
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any, Final

from tests.fuzz.contained import tally
from tests.fuzz.guests import random_guests
from tests.fuzz.streams import MODES

_PART: Final = 2_000
"""Guests that are counted together."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.campaign")
    parser.add_argument("file", type=Path, help="a line of JSON for each part")
    parser.add_argument("--first", type=int, default=0, help="number of the first guest")
    parser.add_argument("--count", type=int, default=100_000, help="guests of each mode")
    parser.add_argument("--seeded", type=int, default=4_000, help="guests of each mode that are run with a seed")
    wanted = parser.parse_args(arguments)
    done = [json.loads(line) for line in wanted.file.read_text(encoding="utf-8").splitlines()] if wanted.file.exists() else []
    known = {(part["bits"], part["seeded"], part["first"], part["count"]) for part in done}
    for part in _parts(wanted.first, wanted.count, wanted.seeded):
        if part not in known:
            done.append(_run(*part))
            with wanted.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done[-1]) + "\n")
    for (bits, seeded), parts in sorted(_by_kind(done).items()):
        sys.stdout.write(f"{bits} bits, {'with' if seeded else 'without'} a seed: {_summary(parts)}\n")
    return int(any(loss["is_ours"] for part in done for loss in part["lost"]))


def _parts(first: int, count: int, seeded: int) -> Iterator[tuple[int, bool, int, int]]:
    """Mode, whether there is a seed, first number and how many: of all modes some, before there are more of any."""
    for at in range(0, max(count, seeded), _PART):
        for bits, has_seed in product(MODES, (False, True)):
            left = (seeded if has_seed else count) - at
            if left > 0:
                yield bits, has_seed, first + at, min(_PART, left)


def _run(bits: int, seeded: bool, first: int, count: int) -> dict[str, Any]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    counts, losses = tally(random_guests(bits, first, count, seeded=seeded))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    lost = [loss._asdict() for loss in losses]
    return {"bits": bits, "seeded": seeded, "first": first, "count": count, "seconds": seconds, "counts": counts, "lost": lost}


def _by_kind(done: list[dict[str, Any]]) -> Mapping[tuple[int, bool], list[dict[str, Any]]]:
    kinds: dict[tuple[int, bool], list[dict[str, Any]]] = {}
    for part in done:
        kinds.setdefault((part["bits"], part["seeded"]), []).append(part)
    return kinds


def _summary(parts: list[dict[str, Any]]) -> str:
    counts: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    for part in parts:
        counts.update(part["counts"])
        ends.update(loss["how"] for loss in part["lost"])
    guests = sum(part["count"] for part in parts)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common())
    took = "".join(f"; of {count:,} the process {how}" for how, count in ends.most_common())
    return f"{guests:,} guests, {sum(part['seconds'] for part in parts) / guests * 1e3:.1f} ms each ({kinds}{took})"


if __name__ == "__main__":
    sys.exit(main())
