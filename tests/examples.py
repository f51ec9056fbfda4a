"""How much is tried: enough to see that something broke, or, with `make exhaustive`, all there is."""

import os
from typing import Final

EXHAUSTIVE: Final = "KEV_EXHAUSTIVE" in os.environ
"""What is marked so is run, too."""
MOST_EXAMPLES: Final = 100 if EXHAUSTIVE else 25
"""Of a property that says nothing else."""


def examples(many: int) -> int:
    """How many examples of a property are tried of which an exhaustive run tries `many`."""
    return many if EXHAUSTIVE else min(many, max(MOST_EXAMPLES, many // 4))
