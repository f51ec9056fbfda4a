"""Registers of devices: random accesses of guests, and what happens to the devices meanwhile."""

from typing import NamedTuple

from hypothesis import strategies as st

from kev.errors import KevError
from tests.dev.rig import Access, Moves, accesses
from tests.dev.test_save_and_load import KINDS, rig_of

Moments = tuple[str, list[Access]]
"""The kind of device, and what is done to it."""


class DeviceTarget(NamedTuple):
    """The same to the fuzzer as `tests.fuzz.targets.Target`."""

    name: str = "devices"
    modules: tuple[str, ...] = ("kev/dev/*/*.py", "kev/dev/*/*/*.py")

    def seeds(self) -> list[Moments]:
        """A driver that does nothing more."""
        return [(name, []) for name in KINDS]

    def inputs(self) -> st.SearchStrategy[Moments]:
        return st.sampled_from(sorted(KINDS)).flatmap(_of_kind)

    def check(self, drawn: Moments) -> KevError | None:
        """Whatever a device raises but a KevError, which ends a run, is a bug. Nothing of that is an input that is refused."""
        name, moments = drawn
        rig = rig_of(KINDS[name])
        for access in moments:
            rig.do(access)
        return None


def _of_kind(name: str) -> st.SearchStrategy[Moments]:
    kind = KINDS[name]
    sequences: Moves = accesses(kind.build, kind.values, kind.moves, kind.host)
    return st.tuples(st.just(name), sequences)
