"""The Test Anything Protocol, in which guests that check themselves report."""

import re
from typing import Final

CHECK: Final = re.compile(r"(not )?ok (\d+) - .+")
PLAN: Final = re.compile(r"1\.\.(\d+)")


def assert_all_checks_hold(output: str) -> None:
    """Every check reported, in order, and none of them failed."""
    lines = output.replace("\r", "").splitlines()
    checks = [check for line in lines if (check := CHECK.fullmatch(line))]
    failed = [line for line in lines if line.startswith(("not ok", "#  ", "panic"))]
    assert not failed, output
    plan = PLAN.fullmatch(lines[-1])
    assert plan, output
    assert [int(check[2]) for check in checks] == list(range(1, int(plan[1]) + 1))
