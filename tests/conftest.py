"""Settings of all property tests: no deadlines, since how long an example takes is the machine's business.

In CI the examples are the same every time: what chance finds is found, and mended, where somebody is looking.
"""

import os

from hypothesis import settings

settings.register_profile("kev", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("kev")
