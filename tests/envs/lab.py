"""A host with an environment that makes a guest, as in the lab."""

from collections.abc import Callable

import attrs
import pytest

from kev.addressing import MIB
from kev.envs.environment import EnvironmentKind
from kev.envs.ept import Edition
from kev.envs.errors import JosError, JosFailure
from kev.envs.files import DiskImages
from kev.envs.spaces import GuestSpace
from kev.envs.system_calls import SystemCalls
from kev.envs.table import Environments


@attrs.frozen
class Lab:
    calls: SystemCalls
    guest: int

    @property
    def space(self) -> GuestSpace:
        space = self.calls.host.find(self.guest).space
        assert isinstance(space, GuestSpace)
        return space


def lab(edition: Edition = Edition.UT, memory: int = 4 * MIB) -> Lab:
    host = new_host(memory)
    calls = SystemCalls(host, host.create(EnvironmentKind.USER), edition=edition)
    return Lab(calls, calls.env_mkguest())


def new_host(memory: int = 4 * MIB) -> Environments:
    return Environments(DiskImages(), bytes, memory)


def failure(call: Callable[[], object]) -> tuple[JosError, str]:
    """The error code of a call that fails, and what it says."""
    with pytest.raises(JosFailure) as caught:
        call()
    return caught.value.code, str(caught.value)
