"""How a test of pytest is told to replay a token."""

from typing import Final

REPLAY: Final = "KEV_RACE_REPLAY"
"""The environment variable with the token that a test is to be replayed with."""
TIMES: Final = "KEV_RACE_REPLAY_TIMES"
"""That with how often: once if it is not there."""
