import pytest

from kev.addressing import MIB
from kev.memory import HostMemory
from kev.paging.ept import EptFormat
from kev.paging.format import EntryFormat
from kev.paging.npt import NptFormat
from kev.paging.table import PageTable


@pytest.fixture
def memory() -> HostMemory:
    return HostMemory(64 * MIB)


@pytest.fixture(params=[EptFormat(), NptFormat()], ids=["ept", "npt"])
def entry_format(request: pytest.FixtureRequest) -> EntryFormat:
    entry_format: EntryFormat = request.param
    return entry_format


@pytest.fixture
def table(memory: HostMemory, entry_format: EntryFormat) -> PageTable:
    return PageTable(memory, entry_format)
