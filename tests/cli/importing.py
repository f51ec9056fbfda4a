"""Programs in which something happens when a module is imported."""

from typing import Final

ASKED_FIRST: Final = """
import sys
sys.pycache_prefix, sys.dont_write_bytecode = "/dev/null", True
class Behind(list):
    def insert(self, at, finder):
        super().insert(at + 1, finder)
def ask_first(finder):
    sys.meta_path = Behind([finder, *sys.meta_path])
"""
"""`ask_first`: a finder that is asked before all others, those that come later, too, such as the one of kept bytecode.

Nothing is kept for them: what is always imported together would be imported without asking.
"""
