"""What is noted of pages when they are loaded."""

import pytest

from kev.addressing import PAGE_SIZE
from kev.pager.backing import Zeros
from kev.pager.originals import Originals

PAGE = 0x5000


@pytest.mark.parametrize("whole", [False, True])
def test_a_page_that_differs_in_one_byte_has_changed(whole: bool) -> None:
    originals = Originals()
    if whole:
        originals.keep_contents()
    loaded, changed = memoryview(bytes(PAGE_SIZE)), memoryview(bytes(PAGE_SIZE - 1) + b"\1")
    for frame in (loaded, changed):
        originals.remember(PAGE, loaded)
        assert originals.is_as_noted(PAGE, frame) is (frame is loaded)
        assert originals.has_changed(PAGE, frame, Zeros(PAGE, PAGE + PAGE_SIZE, ())) is (frame is changed)
        assert originals.is_as_noted(PAGE, frame) is None
