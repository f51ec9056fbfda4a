"""What `--on` says, and what is wrong with it."""

import pickle
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client

from kev.fleet.errors import FleetError
from kev.fleet.places import place
from kev.fleet.versions import Versions
from kev.fleet.worker import Call
from tests.fleet.clusters import cluster


@pytest.mark.parametrize(
    ("on", "message"),
    [
        ("moon", "--on: 'moon': is no place to work at: local[N] is N processes"),
        ("ssh://host:22", "--on: 'ssh://host:22': is no place to work at"),
        ("dask://host", "--on: 'dask://host': is no place to work at"),
        ("dask://host:99999", "--on: 'dask://host:99999': is no place to work at"),
        ("local[0]", "--on: 'local[0]': there may be 1 to 256 processes"),
        ("local[257]", "--on: 'local[257]': there may be 1 to 256 processes"),
    ],
)
def test_what_is_no_place_is_refused(on: str, message: str) -> None:
    with pytest.raises(FleetError) as error, place(on):
        """It is not come to."""
    assert str(error.value).startswith(message)


def test_a_store_is_for_other_computers() -> None:
    with (
        pytest.raises(FleetError, match=r"^--store: '/shared': local\[2\] reads files where they are"),
        place("local[2]", "/shared"),
    ):
        """It is not come to."""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def test_nobody_listens(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    with pytest.raises(FleetError) as error, place(f"dask://127.0.0.1:{port}"):
        """It is not come to."""
    assert str(error.value) == f"--on: dask://127.0.0.1:{port}: nobody listens there: Connection refused"


@pytest.mark.slow
def test_who_listens_is_no_scheduler(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with (
        pytest.raises(FleetError, match=f"^--on: dask://127.0.0.1:{port}: is no scheduler of Dask: "),
        place(f"dask://127.0.0.1:{port}"),
    ):
        """It is not come to."""


@pytest.mark.slow
def test_a_worker_without_kev_is_named(tmp_path: Path) -> None:
    with cluster(1, str(tmp_path), with_kev=False) as made, pytest.raises(FleetError) as error, place(made.on):
        """It is not come to."""
    assert f"--on: {made.on}: worker tcp://127.0.0.1:" in str(error.value)
    assert " has no kev: install version " in str(error.value)


@pytest.mark.slow
def test_a_worker_refuses_work_of_another_version_and_names_both(fleet: str) -> None:
    with Client("tcp" + fleet.removeprefix("dask"), set_as_default=False) as client:
        other = pickle.dumps(Call(Versions.here()._replace(kev="0.0.1", python="3.9"), b"", []), 5)
        error, _ = pickle.loads(client.submit(pickle.loads, other).result())
    here = Versions.here()
    assert isinstance(error, FleetError)
    assert str(error).startswith("worker tcp://127.0.0.1:")
    assert str(error).endswith(f": kev 0.0.1 here, and {here.kev} there; Python 3.9 here, and {here.python} there")


def test_what_is_the_same_makes_no_difference() -> None:
    assert Versions.here().difference(Versions.here()) == ""


def test_dask_is_imported_for_dask_alone() -> None:
    program = "import sys; from kev.__main__ import main; sys.argv[1:] = sys.argv[1:]; import atexit; "
    program += "atexit.register(lambda: print('distributed' in sys.modules, 'kev.fleet' in sys.modules)); main()"
    command = [sys.executable, "-c", program, "race", "r0/r0", "--runs", "3", "--jobs", "1"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.endswith("False False\n")
