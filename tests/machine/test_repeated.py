"""The same seed is the same run: memory, registers, devices, and every exit."""

from contextlib import suppress

import pytest

from bench.disturbance import disturb_garbage, disturbance
from bench.repeated_run import REPEATED, LateInput, difference, run_once

_TIMES = 50


# Signals that come while trio closes the descriptor at which it hears of them are told so by Python, and heard all the same.
@pytest.mark.filterwarnings("ignore:Exception ignored in. None:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.parametrize("name", REPEATED)
def test_a_run_with_a_seed_is_the_same_fifty_times_however_the_host_is_disturbed(name: str) -> None:
    guest = REPEATED[name]
    undisturbed = run_once(guest, 7, traced=True)
    compared = 0
    with disturbance():
        while compared < _TIMES:
            disturb_garbage()
            with suppress(LateInput):
                assert difference(undisturbed, run_once(guest, 7, traced=compared % 2 == 0)) is None
                compared += 1


def test_another_seed_is_another_run() -> None:
    guest = REPEATED["4 vCPUs: IPIs, spinlocks"]
    assert run_once(guest, 1, traced=True).facts != run_once(guest, 2, traced=True).facts
