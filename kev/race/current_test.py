"""Which test pytest is running."""

import os
import re
from typing import Final

_GROUPED: Final = re.compile(r"(.*::\w+(?:\[.*\])?)@[^\]]*", re.DOTALL)
"""What pytest-xdist makes of the name of a test of a group with `--dist loadgroup`."""


def current_test() -> str:
    """The node ID by which pytest finds the test again; empty outside of pytest."""
    name = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    grouped = _GROUPED.fullmatch(name)
    return name if grouped is None else grouped[1]
