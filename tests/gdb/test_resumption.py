"""vCont: who goes on, and how."""

import pytest

from kev.gdb.resumption import Resumption, parse_vcont


@pytest.mark.parametrize(
    ("actions", "resumption"),
    [
        (b"c", Resumption()),
        (b"c:-1", Resumption()),
        (b"C05:2;c", Resumption()),
        (b"c:2", Resumption(alone=1)),
        (b"s:2;c", Resumption(step=1)),
        (b"s:2", Resumption(step=1, alone=1)),
        (b"s", Resumption(step=3, alone=3)),
        (b"r1000,1010:1;c:-1", Resumption(step=0, bounds=range(0x1000, 0x1010))),
        (b"r1000,1010:1", Resumption(step=0, bounds=range(0x1000, 0x1010), alone=0)),
    ],
)
def test_actions(actions: bytes, resumption: Resumption) -> None:
    assert parse_vcont(actions, 3) == resumption


@pytest.mark.parametrize("actions", [b"", b"t:1", b"r1000:1", b"s:x"])
def test_malformed_actions_are_refused(actions: bytes) -> None:
    with pytest.raises(ValueError, match=r"vCont|invalid literal|unpack"):
        parse_vcont(actions, 0)
