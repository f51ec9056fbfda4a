"""Files made of other files: what Hypothesis changes, cuts, copies and moves in them."""

from collections.abc import Sequence

from hypothesis import strategies as st

_INTERESTING = (
    0,
    1,
    2,
    4,
    7,
    8,
    15,
    16,
    31,
    32,
    64,
    127,
    128,
    255,
    256,
    4095,
    4096,
    0x7FFF,
    0x8000,
    0xFFFF,
    1 << 20,
    1 << 31,
    1 << 32,
)
NUMBERS = st.one_of(
    st.builds(lambda base, step: base + step, st.sampled_from(_INTERESTING), st.integers(-1, 1)),
    st.sampled_from([(1 << 31) - 1, (1 << 32) - 1, 1 << 40, 1 << 48, 1 << 63, (1 << 64) - 1, (1 << 64) - 4096]),
    st.integers(0, (1 << 64) - 1),
)


def mutated(seeds: Sequence[bytes], head: int = 512) -> st.SearchStrategy[bytes]:
    """One of the seeds, with up to eight changes, most of them in its first `head` bytes."""
    return st.sampled_from(seeds).flatmap(
        lambda seed: st.lists(_changes(len(seed), head), max_size=8).map(lambda changes: _apply(seed, changes))
    )


Change = tuple[str, int, int, int]
"""What is done, where, with which number, over how many bytes."""


def _changes(size: int, head: int) -> st.SearchStrategy[Change]:
    place = st.one_of(st.integers(0, max(min(size, head) - 1, 0)), st.integers(0, max(size - 1, 0)))
    fields = st.tuples(st.just("set"), place, NUMBERS, st.sampled_from([1, 2, 4, 8]))
    octets = st.tuples(st.sampled_from(["set", "flip"]), place, st.integers(0, 255), st.just(1))
    sizes = st.tuples(st.sampled_from(["cut", "drop", "repeat"]), place, st.just(0), st.sampled_from([1, 2, 8, 64, 512]))
    return st.one_of(fields, fields, fields, fields, octets, octets, octets, sizes)


def _apply(seed: bytes, changes: Sequence[Change]) -> bytes:
    data = bytearray(seed)
    for what, at, number, length in changes:
        if what == "set":
            data[at : at + length] = (number % (1 << 8 * length)).to_bytes(length, "little")
        elif what == "flip" and at < len(data):
            data[at] ^= number
        elif what == "cut":
            del data[at:]
        elif what == "drop":
            del data[at : at + length]
        else:
            data[at:at] = data[at : at + length]
    return bytes(data)


_PIECES = ("[", "]", "{", "}", '"', ",", ":", "=", "null", "true", "-1", "1e400", "1.5", "9" * 40, "\\u0000", "\x1b", "\n", "")


def mutated_text(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """For files of text: pieces of them are also exchanged for what JSON and TOML are made of."""
    pieces = st.sampled_from([piece.encode() for piece in _PIECES])
    change = st.tuples(st.integers(0, 1 << 16), st.integers(0, 12), pieces)
    texts = st.tuples(st.sampled_from(seeds), st.lists(change, max_size=6)).map(_exchange)
    return st.one_of(texts, mutated(seeds, head=1 << 16))


def _exchange(drawn: tuple[bytes, list[tuple[int, int, bytes]]]) -> bytes:
    data = bytearray(drawn[0])
    for place, length, piece in drawn[1]:
        at = place % (len(data) + 1)
        data[at : at + length] = piece
    return bytes(data)
