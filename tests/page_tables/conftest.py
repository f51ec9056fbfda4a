import pytest

from kev.addressing import MIB
from kev.host_memory import HostMemory
from kev.page_tables.ept import EptFormat
from kev.page_tables.format import EntryFormat
from kev.page_tables.npt import NptFormat
from kev.page_tables.table import PageTable


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
