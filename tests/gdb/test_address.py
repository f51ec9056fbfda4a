"""Where debuggers are waited for."""

import pytest

from kev.gdb.address import TcpAddress, UnixAddress, parse_address
from kev.gdb.errors import GdbError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("1234", TcpAddress("127.0.0.1", 1234)),
        (":1234", TcpAddress("127.0.0.1", 1234)),
        ("0.0.0.0:0", TcpAddress("0.0.0.0", 0)),
        ("[::1]:1234", TcpAddress("::1", 1234)),
        ("unix:/tmp/gdb", UnixAddress("/tmp/gdb")),
    ],
)
def test_addresses_are_read(text: str, address: TcpAddress | UnixAddress) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "localhost", "host:", "65536", "-1", "unix:", "1234x", "9" * 5000])
def test_what_is_no_address_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(GdbError, match=r"--gdb .*: give \[HOST:\]PORT"):
        parse_address(text)


def test_addresses_are_shown_as_target_remote_takes_them() -> None:
    assert str(TcpAddress("::1", 7)) == "[::1]:7"
    assert str(UnixAddress("socket")) == "./socket"
