"""The pytest plugin: guests as fixtures, and what a person needs to see of them when a test has failed.

def test_the_kernel_boots(guest):
    machine = guest("kernel.elf", vcpus=2)
    machine.expect("login:", timeout=10)

@pytest.mark.guest("kernel.elf", vcpus=2)
def test_the_shell_answers(guest):
    guest.expect("$ ")
    guest.send("uname\n")

Nothing of the hypervisor is imported before a test asks for the fixture.
"""

import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from kev.testing.guests import Guests

_RACE_STATE: Final = "KEV_RACE_STATE"
"""`kev.race.store.FOLDER`, without importing it: failures of race tests are kept in pytest's cache, unless the user says where."""
_TOKEN: Final = "kev_race_token"
_EVENT_LOOPS: Final = ("anyio", "asyncio", "trio")
_GUESTS = pytest.StashKey["Guests"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("kev_timeout", "Seconds after which a guest that a test has started is ended.", default="60")


def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.has_plugin("cacheprovider"):
        os.environ.setdefault(_RACE_STATE, str(config.rootpath / os.path.expandvars(config.getini("cache_dir")) / "kev-race"))
    config.addinivalue_line(
        "markers", "guest(image, **wishes): the fixture `guest` is this machine, with the keywords of kev.start, started already."
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """A race test is an ordinary function, also where a mark would have an event loop run it."""
    if getattr(getattr(item, "obj", None), "kev_race", False):
        inherited = item.iter_markers_with_node
        # Marks of its class and module, too, which are there for other tests of theirs.
        item.iter_markers_with_node = lambda name=None: (  # type: ignore[method-assign]
            (node, mark) for node, mark in inherited(name) if mark.name not in _EVENT_LOOPS
        )


@pytest.fixture
def guest(request: pytest.FixtureRequest) -> Iterator["Guests"]:
    """Starts machines, ends them with the test, and shows their consoles, places and last exits if it fails.

    `guest(image, **wishes)` starts one, with the keywords of `kev.start`, and returns a `kev.machine.blocking.BlockingMachine`. In
    a test of pytest-trio, `async with guest.start(image, **wishes)` gives a `kev.machine.machine.Machine`. With the mark `guest`,
    the fixture is the marked machine besides.
    """
    from kev.testing.guests import Guests

    with Guests(timeout=float(request.config.getini("kev_timeout"))) as guests:
        request.node.stash[_GUESTS] = guests
        mark = request.node.get_closest_marker("guest")
        if mark is not None:
            guests.start_marked(*mark.args, **mark.kwargs)
        yield guests


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    token = getattr(call.excinfo and call.excinfo.value, "kev_race_token", None)
    if token is not None and report.when == "call":
        for properties in (item.user_properties, report.user_properties):
            others = [known for known in properties if known[0] != _TOKEN]  # of an earlier run of the same test
            properties[:] = [*others, (_TOKEN, token)]
    guests = item.stash.get(_GUESTS, None)
    if guests is not None and report.when == "call" and report.failed:
        report.sections.extend(guests.sections())
    return report
