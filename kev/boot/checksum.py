"""The checksum of firmware tables: all bytes of a table add up to 0, modulo 256."""


def with_checksum(table: bytes, offset: int) -> bytes:
    """`table` with the byte at `offset`, which must be 0, set so that its sum comes out."""
    return table[:offset] + bytes([-sum(table) & 0xFF]) + table[offset + 1 :]
