"""SIMPLEFS images built byte by byte from the format's description, independently of the code under test."""

import io
import struct
from collections.abc import Mapping

from kev.fs.disk import Disk
from kev.fs.simplefs import SimpleFs

SECTOR = 512


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % SECTOR)


def header(name: bytes, size: int) -> bytes:
    return padded(struct.pack("<QQ", len(name), size) + name)


def image(files: Mapping[str, bytes], free: bytes = b"") -> bytearray:
    """The files back to back, then `free`, which is whole sectors."""
    body = b"".join(header(name.encode(), len(data)) + padded(data) for name, data in files.items()) + free
    return bytearray(padded(b"SIMPLEFS" + struct.pack("<Q", SECTOR + len(body))) + body)


def free_space(sectors: int) -> bytes:
    """Free space with its header, as KeOS writes it: `sectors` in all."""
    return header(b"", (sectors - 1) * SECTOR) + bytes((sectors - 1) * SECTOR)


def mounted(data: bytes | bytearray) -> SimpleFs:
    return SimpleFs(Disk(io.BytesIO(data), "disk"))


def contents(fs: SimpleFs) -> dict[str, bytes]:
    return {name: fs.open(name).read() for name in fs.files}
