"""Settings of all property tests: no deadlines, since how long an example takes is the machine's business."""

from hypothesis import settings

settings.register_profile("kev", deadline=None)
settings.load_profile("kev")
