"""The same seed is the same run: memory, registers, and every exit."""

import pytest

from tests.machine.repeated import MATRIX, digest, disturbance


@pytest.mark.slow
@pytest.mark.parametrize("name", MATRIX)
def test_a_run_with_a_seed_is_the_same_however_the_host_is_disturbed(name: str) -> None:
    wishes = {"seed": 7, "memory": "64M", **MATRIX[name]}
    undisturbed = digest(**wishes)
    with disturbance():
        assert [digest(**wishes) for _ in range(3)] == [undisturbed] * 3


@pytest.mark.slow
def test_another_seed_is_another_run() -> None:
    assert digest("smp", vcpus=4, seed=1, memory="64M") != digest("smp", vcpus=4, seed=2, memory="64M")
