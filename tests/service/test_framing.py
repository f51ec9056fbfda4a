"""Frames between a service and its processes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kev.service.workers.framing import MOST_CONTENTS, PIECE, Frame, FrameKind, ProtocolError, Unpacker, pack, pieces

FRAMES = st.builds(Frame, st.sampled_from(FrameKind), st.integers(0, 2**32 - 1), st.binary(max_size=40))


@given(st.lists(FRAMES), st.lists(st.integers(0, 500)))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(frames: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(pack(*frame) for frame in frames)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    unpacker = Unpacker()
    found = [frame for first, last in pairwise(places) for frame in unpacker.feed(stream[first:last])]
    assert found == frames


@given(st.binary())
def test_any_bytes_are_frames_or_an_error(data: bytes) -> None:
    try:
        for frame in Unpacker().feed(data):
            assert len(frame.contents) <= len(data)
    except ProtocolError:
        assert len(data) >= 9


def test_a_frame_that_is_too_long_is_refused_before_it_comes() -> None:
    with pytest.raises(ProtocolError, match=f"a frame of {MOST_CONTENTS + 1} bytes: the most are {MOST_CONTENTS}"):
        list(Unpacker().feed(bytes((FrameKind.OUTPUT, 0, 0, 0, 0)) + (MOST_CONTENTS + 1).to_bytes(4, "big")))


def test_pieces_are_all_of_it() -> None:
    data = bytes(range(256)) * 1000
    assert b"".join(pieces(data)) == data
    assert max(map(len, pieces(data))) == PIECE
    assert list(pieces(b"")) == [b""]
